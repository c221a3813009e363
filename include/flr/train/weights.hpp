// Weights in safetensors, under the names of PyTorch's state_dict.
#pragma once

#include "flr/data/safetensors.hpp"
#include "flr/data/tensor_io.hpp"
#include "flr/nn.hpp"

namespace flr::train {

namespace detail {
/// The name without what wrappers put in front: torch.compile's _orig_mod., DDP's module.
inline std::string bare_name(std::string name) {
  for (bool again = true; again;) {
    again = false;
    for (const std::string prefix : {"_orig_mod.", "module."})
      if (name.starts_with(prefix)) {
        name.erase(0, prefix.size());
        again = true;
      }
  }
  return name;
}
}  // namespace detail

/// Every parameter and buffer of a module as named arrays.
template <Floating T>
data::SafeTensors weights_of(const nn::Module<T>& module) {
  data::SafeTensors file;
  for (const auto& p : module.parameters()) file.tensors[p.name] = data::to_array(p.value);
  for (const auto& b : module.buffers())
    if (b.saved) file.tensors[b.name] = data::to_array(b.value);
  return file;
}

/// Copies named arrays into a module. Every parameter must be there with its shape, and nothing
/// else; the first name that is not is reported, and then nothing is changed. `origin` starts the
/// message. Arrays of other float types are converted.
template <Floating T>
void set_weights(nn::Module<T>& module, const data::SafeTensors& file, const std::string& origin) {
  std::map<std::string, const data::Array*> arrays;
  for (const auto& [name, array] : file.tensors) arrays[detail::bare_name(name)] = &array;
  std::vector<std::pair<Tensor<T>, const data::Array*>> work;
  const auto take = [&](const std::string& name, const Tensor<T>& value) {
    const auto it = arrays.find(name);
    check(it != arrays.end(), "[weights] {}: the model's '{}' {} is missing", origin, name,
          value.shape());
    const Shape found(it->second->shape());
    check(found == value.shape(), "[weights] {}: '{}' has shape {}, the model expects {}", origin,
          name, found, value.shape());
    work.emplace_back(value, it->second);
    arrays.erase(it);
  };
  for (const auto& p : module.parameters()) take(p.name, p.value);
  for (const auto& b : module.buffers())
    if (b.saved) take(b.name, b.value);
  check(arrays.empty(), "[weights] {}: the model has no parameter '{}'", origin,
        arrays.empty() ? "" : arrays.begin()->first);
  std::vector<Tensor<T>> values;  // converted first: a bad value must not leave half a model
  for (const auto& [target, array] : work)
    values.push_back(data::to_tensor<T>(*array).to(target.device()));
  for (std::size_t i = 0; i < work.size(); ++i) work[i].first.copy_(values[i]);
}

template <Floating T>
void save_weights(const std::filesystem::path& path, const nn::Module<T>& module) {
  data::write_safetensors(path, weights_of(module));
}

template <Floating T>
void load_weights(const std::filesystem::path& path, nn::Module<T>& module) {
  set_weights(module, data::read_safetensors(path), path.string());
}

}  // namespace flr::train
