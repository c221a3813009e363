// Operator fixtures: attention, FLARE's mixer and the causal mixers, with all gradients.
#include "compare.hpp"

namespace {

template <class T>
flr::Tensor<T> leaf(const flr::data::SafeTensors& file, const char* name) {
  auto x = on_device<T>(file.at(name));
  x.requires_grad(true);
  return x;
}

}  // namespace

template <class T>
Verdict check_sdpa(const flr::data::SafeTensors& file) {
  auto q = leaf<T>(file, "q"), k = leaf<T>(file, "k"), v = leaf<T>(file, "v");
  flr::SdpaOptions<T> options;
  options.scale = std::stod(file.metadata.at("scale"));
  options.causal = file.metadata.at("causal") == "true";
  const std::string& mask = file.metadata.at("mask");
  if (mask == "bias") options.bias = on_device<T>(file.at("mask"));
  else if (mask == "keypad")
    options.keep = flr::reshape(on_device<std::uint8_t>(file.at("mask")), {-1, k.size(2)});
  else flr::check(mask == "none", "[golden_check] unknown mask '{}'", mask);
  flr::Tensor<T> lse;
  const auto y = flr::sdpa(q, k, v, options, &lse);
  flr::backward(y, on_device<T>(file.at("dy")));

  Comparison result(sizeof(T) == 8, norm_of_all(file, {"dq", "dk", "dv"}));
  result.add("y", y, file.at("y"));
  result.add("lse", lse, file.at("lse"));
  result.add("dq", q.grad(), file.at("dq"));
  result.add("dk", k.grad(), file.at("dk"));
  result.add("dv", v.grad(), file.at("dv"));
  return result.verdict;
}

template <class T>
Verdict check_flare_mixer(const flr::data::SafeTensors& file) {
  auto q = leaf<T>(file, "q"), k = leaf<T>(file, "k"), v = leaf<T>(file, "v");
  const double scale = std::stod(file.metadata.at("scale"));
  const auto z = flr::flare_encode(q, k, v, scale);
  const auto y = flr::flare_decode(q, k, z, scale);
  flr::backward(y, on_device<T>(file.at("dy")));

  Comparison result(sizeof(T) == 8, norm_of_all(file, {"dq", "dk", "dv"}));
  result.add("z", z, file.at("z"));
  result.add("y", y, file.at("y"));
  result.add("dq", q.grad(), file.at("dq"));
  result.add("dk", k.grad(), file.at("dk"));
  result.add("dv", v.grad(), file.at("dv"));
  return result.verdict;
}

template <class T>
Verdict check_causal(const flr::data::SafeTensors& file) {
  auto q = leaf<T>(file, "q"), k = leaf<T>(file, "k"), v = leaf<T>(file, "v");
  const std::string& scale = file.metadata.at("scale");
  flr::Tensor<T> y;
  if (q.rank() == 3) {  // latents
    y = flr::mixers::causal_flare(q, k, v, {.scale = std::stod(scale), .chunk = 8});
  } else {
    flr::check(scale == "1/N on q k^T", "[golden_check] unknown scale '{}'", scale);
    y = flr::mixers::causal_linear_attention(
        q, k, v, {.scale = 1 / static_cast<double>(q.size(2)), .chunk = 16});
  }
  flr::backward(y, on_device<T>(file.at("dy")));

  Comparison result(sizeof(T) == 8, norm_of_all(file, {"dq", "dk", "dv"}));
  result.add("y", y, file.at("y"));
  result.add("dq", q.grad(), file.at("dq"));
  result.add("dk", k.grad(), file.at("dk"));
  result.add("dv", v.grad(), file.at("dv"));
  return result.verdict;
}

template <class T>
Verdict check_triple(const flr::data::SafeTensors& file) {
  const char* names[] = {"q1", "q2", "k1", "k2", "v"};
  std::vector<flr::Tensor<T>> x;
  for (const char* name : names) x.push_back(leaf<T>(file, name));
  flr::Tensor<T> state;
  const auto y = flr::mixers::triple_attention(x[0], x[1], x[2], x[3], x[4], {}, 16, &state);
  flr::backward(y, on_device<T>(file.at("dy")));

  Comparison result(sizeof(T) == 8, norm_of_all(file, {"dq", "dk", "dv"}));
  result.add("state", state.contiguous(), file.at("state"));
  result.add("y", y, file.at("y"));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::string name = std::string("d") + names[i];
    result.add(name, x[i].grad(), file.at(name));
  }
  return result.verdict;
}

template Verdict check_sdpa<float>(const flr::data::SafeTensors&);
template Verdict check_sdpa<double>(const flr::data::SafeTensors&);
template Verdict check_flare_mixer<float>(const flr::data::SafeTensors&);
template Verdict check_flare_mixer<double>(const flr::data::SafeTensors&);
template Verdict check_causal<float>(const flr::data::SafeTensors&);
template Verdict check_causal<double>(const flr::data::SafeTensors&);
template Verdict check_triple<float>(const flr::data::SafeTensors&);
template Verdict check_triple<double>(const flr::data::SafeTensors&);
