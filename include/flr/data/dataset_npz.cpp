// Anybody's own set: one .npz of x and y, with the same number of points in each sample or packed.
#include <set>
#include <nlohmann/json.hpp>

#include "flr/data/dataset.hpp"
#include "flr/data/file.hpp"
#include "flr/data/npz.hpp"

namespace flr::data {

namespace {

/// Values [S,N,c], [S,N] (one channel), or packed [points,c] / [points] with offsets.
std::vector<float> read_values(const NpzFile& file, const std::string& key, bool packed,
                               std::int64_t& samples, std::int64_t& points, index_t& channels) {
  const Array a = file.read(key);
  const int base = packed ? 1 : 2;
  check(a.rank() == base || a.rank() == base + 1,
        "[dataset] '{}': expected shape {}, got {}", key,
        packed ? "[points,c] beside offsets" : "[S,N,c] or [S,N]", shape_text(a.shape()));
  samples = packed ? -1 : a.extent(0);
  points = a.extent(base - 1);
  channels = a.rank() == base ? 1 : a.extent(base);
  check(a.numel() > 0, "[dataset] '{}': shape {} holds nothing", key, shape_text(a.shape()));
  return a.convert<float>();
}

std::vector<index_t> offsets_of(const NpzFile& file, std::int64_t samples, std::int64_t points) {
  std::vector<index_t> offsets;
  if (!file.contains("offsets")) {
    for (std::int64_t i = 0; i <= samples; ++i) offsets.push_back(i * points);
    return offsets;
  }
  const Array a = file.read("offsets");
  offsets = a.convert<std::int64_t>();
  bool ordered = a.rank() == 1 && offsets.size() >= 2 && offsets.front() == 0 &&
                 offsets.back() == points;
  for (std::size_t i = 1; ordered && i < offsets.size(); ++i) ordered = offsets[i] > offsets[i - 1];
  check(ordered, "[dataset] 'offsets': expected rising numbers from 0 to {} points", points);
  return offsets;
}

std::vector<index_t> indices(const nlohmann::json& json, const char* key, const std::string& file,
                             index_t samples) {
  check(json.is_object() && json.contains(key) && json[key].is_array(),
        "[dataset] {}: expected a list '{}' of sample numbers", file, key);
  std::vector<index_t> list;
  for (const auto& entry : json[key]) {
    check(entry.is_number_integer(), "[dataset] {}: '{}' holds something that is no integer", file,
          key);
    const auto i = entry.get<index_t>();
    check(i >= 0 && i < samples, "[dataset] {}: sample {} in '{}' does not exist; there are {}",
          file, i, key, samples);
    list.push_back(i);
  }
  check(!list.empty(), "[dataset] {}: '{}' is empty", file, key);
  return list;
}

}  // namespace

PointSet load_npz_points(const std::filesystem::path& path, const std::string& x_key) {
  const NpzFile file(path);
  PointSet set;
  std::int64_t samples = 0, points = 0;
  set.x = read_values(file, x_key, file.contains("offsets"), samples, points, set.c_in);
  set.offsets = offsets_of(file, samples, points);
  return set;
}

Dataset load_npz_dataset(const std::filesystem::path& path, const DatasetOptions& options) {
  const NpzFile file(path);
  PointSet all = load_npz_points(path, options.x_key);
  std::int64_t samples = 0, points = 0;
  all.y = read_values(file, options.y_key, file.contains("offsets"), samples, points, all.c_out);
  const bool packed = file.contains("offsets");
  check(packed || (samples == all.samples() && points == all.points(0)),
        "[dataset] {}: '{}' has {} samples of {} points, '{}' has {} of {}", path.string(),
        options.x_key, all.samples(), all.points(0), options.y_key, samples, points);
  check(static_cast<index_t>(all.y.size()) == all.offsets.back() * all.c_out,
        "[dataset] {}: '{}' has {} points, '{}' has {}", path.string(), options.x_key,
        all.offsets.back(), options.y_key, static_cast<index_t>(all.y.size()) / all.c_out);

  std::vector<index_t> train, test;
  if (options.split.empty()) {
    // Without a split the last fifth is for testing.
    const index_t cut = all.samples() - std::max<index_t>(1, all.samples() / 5);
    check(cut > 0, "[dataset] {}: {} samples are too few to split", path.string(), all.samples());
    for (index_t i = 0; i < all.samples(); ++i) (i < cut ? train : test).push_back(i);
  } else {
    const nlohmann::json json = nlohmann::json::parse(read_text(options.split), nullptr, false);
    check(!json.is_discarded(), "[dataset] {}: expected JSON", options.split.string());
    train = indices(json, "train", options.split.string(), all.samples());
    test = indices(json, "test", options.split.string(), all.samples());
    std::set<index_t> seen;
    for (const std::vector<index_t>* list : {&train, &test})
      for (const index_t i : *list)
        check(seen.insert(i).second, "[dataset] {}: sample {} is named twice",
              options.split.string(), i);
  }
  const auto limit = [&](std::vector<index_t>& list, index_t n, const char* what) {
    const auto there = static_cast<index_t>(list.size());
    check(n <= there, "[dataset] {}: {} {} samples are asked for, there are {}", path.string(), n,
          what, there);
    if (n > 0) list.resize(static_cast<std::size_t>(n));
  };
  limit(train, options.train_samples, "training");
  limit(test, options.test_samples, "test");
  Dataset set;
  set.name = path.stem().string();
  set.train = all.select(train);
  set.test = all.select(test);
  if (file.contains("tri")) {
    const Array tri = file.read("tri");
    if (tri.rank() == 2 && tri.extent(1) == 3) set.triangles = tri.convert<std::int64_t>();
  }
  normalize(set, options.normalize_x, options.normalize_y);
  return set;
}

}  // namespace flr::data
