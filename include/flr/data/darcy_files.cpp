#include "flr/data/darcy_files.hpp"

#include "flr/data/mat5.hpp"
#include "flr/data/npz.hpp"

namespace flr::data {

namespace {

template <class T>
std::map<std::string, Array> collect(const DarcyPart& part, index_t begin, index_t end) {
  const DarcySet& set = part.set();
  const index_t points = set.side() * set.side();
  const std::vector<std::int64_t> shape{end - begin, set.side(), set.side()};
  Array coeff = Array::uninitialized(element_type_of<T>(), shape), sol = coeff;
  for (index_t i = begin; i < end; ++i) {
    const DarcySample sample = part.read(i);
    T* a = coeff.mutable_as<T>().data() + (i - begin) * points;
    T* u = sol.mutable_as<T>().data() + (i - begin) * points;
    for (index_t p = 0; p < points; ++p) {
      a[p] = static_cast<T>(sample.high[p] ? set.recipe.high : set.recipe.low);
      u[p] = static_cast<T>(sample.solution[p]);
    }
  }
  return {{"coeff", std::move(coeff)}, {"sol", std::move(sol)}};
}

}  // namespace

void check_darcy_path(const std::filesystem::path& path) {
  const auto ending = path.extension();
  check(ending == ".mat" || ending == ".npz",
        "[darcy] expected a file name that ends in .mat or .npz; got {}", path.string());
}

void write_darcy(const std::filesystem::path& path, const DarcyPart& part, index_t begin,
                 index_t end, ElementType type) {
  check_darcy_path(path);
  check(begin >= 0 && begin < end && end <= part.set().samples,
        "[darcy] expected samples within 0 to {}; got {} to {}", part.set().samples, begin, end);
  check(type == ElementType::f32 || type == ElementType::f64,
        "[darcy] expected float or double values; got {}", name_of(type));
  auto arrays = type == ElementType::f64 ? collect<double>(part, begin, end)
                                         : collect<float>(part, begin, end);
  // Solutions do not compress, and plain files load faster.
  if (path.extension() == ".mat") return write_mat5(path, arrays, MatForm::plain);
  arrays["coords"] = Array(part.set().points(), {part.set().side()}).convert(type);
  write_npz(path, arrays);
}

}  // namespace flr::data
