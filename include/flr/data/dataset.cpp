#include "flr/data/dataset.hpp"

namespace flr::data {

std::vector<std::string> dataset_names() {
  return {"elasticity", "darcy", "darcy_small", "darcy_small_32", "airfoil_steady", "pipe"};
}

void normalize(Dataset& set, bool x, bool y) {
  set.x_norm = x ? Normalizer::gaussian(set.train.x, set.train.c_in)
                 : Normalizer::identity(set.train.c_in);
  set.y_norm = y ? Normalizer::gaussian(set.train.y, set.train.c_out)
                 : Normalizer::identity(set.train.c_out);
  for (PointSet* part : {&set.train, &set.test}) {
    if (x) set.x_norm.encode(part->x);
    if (y) set.y_norm.encode(part->y);
  }
}

Dataset load_dataset(const std::string& name, const DatasetOptions& options) {
  if (name == "elasticity") return load_elasticity(options);
  if (name == "darcy") return load_darcy(options);
  if (name == "darcy_small") return load_darcy_small(options, 16);
  if (name == "darcy_small_32") return load_darcy_small(options, 32);
  if (name == "airfoil_steady") return load_airfoil(options);
  if (name == "pipe") return load_pipe(options);
  if (name.ends_with(".npz")) return load_npz_dataset(name, options);
  std::string known;
  for (const std::string& n : dataset_names()) known += (known.empty() ? "" : ", ") + n;
  fail("[dataset] there is no data set '{}'; known are {}, or the path of an .npz file", name,
       known);
}

}  // namespace flr::data
