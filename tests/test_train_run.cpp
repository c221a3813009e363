// A run's folder, checkpoints, metrics and configuration.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "flr/data/file.hpp"
#include "flr/train/checkpoint_folder.hpp"
#include "flr/train/metrics.hpp"
#include "flr/train/run_config.hpp"
#include "flr/train/run_folder.hpp"
#include "in_child.hpp"

using namespace flr;
using namespace flr::train;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path;
  Folder() {
    std::string name = (fs::temp_directory_path() / "flr-run-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  fs::path operator/(const std::string& name) const { return path / name; }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(path), {}));
  }
};

// A disk that is full after `bytes` of a file: the kernel refuses what goes beyond.
struct FullDisk {
  rlimit before{};
  explicit FullDisk(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const rlimit small{bytes, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, SIG_DFL);
  }
};


std::string read(const fs::path& path) {
  return data::read_text(path);
}
void append(const fs::path& path, std::string_view text) {
  std::ofstream(path, std::ios::app | std::ios::binary) << text;
}

fs::path save_checkpoint(const fs::path& run, const std::string& text) {
  CheckpointWriter writer(run);
  data::atomic_write(writer.folder() / "model", text);
  return writer.commit();
}

}  // namespace

TEST_CASE("run folders take the next free name") {
  const Folder root;
  CHECK(create_run_folder(root / "out/pdebench", "exp").filename() == "exp");
  CHECK(create_run_folder(root / "out/pdebench", "exp").filename() == "exp01");
  CHECK(create_run_folder(root / "out/pdebench", "exp").filename() == "exp02");
  CHECK(create_run_folder(root / "out/pdebench", "other").filename() == "other");
  for (const char* bad : {"", ".", "..", "a/b", "/"})
    CHECK_THROWS_AS(create_run_folder(root.path, bad), Error);
  append(root / "file", "x");
  CHECK_THROWS_WITH_AS(create_run_folder(root / "file/below", "exp"),
                       doctest::Contains("cannot be created"), Error);
}

TEST_CASE("runs that start together get folders of their own") {
  const Folder root;
  std::vector<fs::path> names(16);
  std::vector<std::thread> threads;
  for (auto& name : names)
    threads.emplace_back([&] { name = create_run_folder(root.path, "exp"); });
  for (auto& thread : threads) thread.join();
  std::sort(names.begin(), names.end());
  CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
  CHECK(root.entries() == 16);
}

TEST_CASE("a run folder serves one process at a time, and a dead one lets go") {
  const Folder run;
  {
    const RunLock lock(run.path);
    CHECK_THROWS_WITH_AS(RunLock(run.path), doctest::Contains("in use by another process"), Error);
  }
  const int status = in_child([&] {
    const RunLock lock(run.path);
    ::raise(SIGKILL);
  });
  CHECK(WIFSIGNALED(status));
  const RunLock again(run.path);
  CHECK_THROWS_AS(RunLock(run / "missing"), Error);
}

TEST_CASE("relative errors") {
  const Folder run;
  write_rel_error(run.path, {0.1, 1.0 / 3});
  CHECK(read(run / "rel_error.json").find("ema") == std::string::npos);
  RelativeErrors back = read_rel_error(run.path);
  CHECK(back.train == 0.1);
  CHECK(back.test == 1.0 / 3);
  CHECK_FALSE(back.ema_test.has_value());
  write_rel_error(run.path, {NAN, 0.25, 0.5, 0.75});
  back = read_rel_error(run.path);
  CHECK(std::isnan(back.train));
  CHECK(back.ema_train == 0.5);
  CHECK(back.ema_test == 0.75);
  {
    const FullDisk disk(8);
    CHECK_THROWS_AS(write_rel_error(run.path, {0, 0}), Error);
  }
  CHECK(read_rel_error(run.path).test == 0.25);
  CHECK(run.entries() == 1);
  data::atomic_write(run / "rel_error.json", "{\"train_rel_error\": \"x\"}");
  CHECK_THROWS_WITH_AS(read_rel_error(run.path), doctest::Contains("train_rel_error"), Error);
}

TEST_CASE("checkpoints are numbered, whole, or not there") {
  const Folder run;
  CHECK_FALSE(latest_checkpoint(run.path).has_value());
  CHECK(save_checkpoint(run.path, "one").filename() == "ckpt01");
  CHECK(save_checkpoint(run.path, "two").filename() == "ckpt02");
  { CheckpointWriter abandoned(run.path); }
  CHECK(run.entries() == 2);
  {
    CheckpointWriter writer(run.path);
    const FullDisk disk(4);
    CHECK_THROWS_AS(data::atomic_write(writer.folder() / "model", "more than four bytes"), Error);
  }
  CHECK(run.entries() == 2);
  CHECK(read(*latest_checkpoint(run.path) / "model") == "two");

  // Numbers, not names, give the order; other folders and files are no checkpoints.
  for (const char* name : {"ckpt99", "ckpt100", "ckpt", "ckpt7", "ckptab", "ckpt0x", "old"})
    fs::create_directory(run / name);
  append(run / "ckpt500", "a file");
  CHECK(latest_checkpoint(run.path)->filename() == "ckpt100");
  CHECK(checkpoints(run.path).size() == 4);
  CHECK(save_checkpoint(run.path, "next").filename() == "ckpt101");
  CHECK_THROWS_AS(latest_checkpoint(run / "missing"), Error);
  CHECK_THROWS_AS(CheckpointWriter(run / "missing"), Error);
}

TEST_CASE("kill -9 in the middle of a checkpoint loses nothing") {
  const Folder run;
  save_checkpoint(run.path, "good");
  const int status = in_child([&] {
    CheckpointWriter writer(run.path);
    append(writer.folder() / "model", "half");
    append(run / ".config.yaml.tmp-1-0", "half");
    ::raise(SIGKILL);
  });
  CHECK(WIFSIGNALED(status));
  CHECK(run.entries() == 3);
  CHECK(latest_checkpoint(run.path)->filename() == "ckpt01");
  CHECK(save_checkpoint(run.path, "next").filename() == "ckpt02");
  CHECK(run.entries() == 2);
  CHECK(read(run / "ckpt02/model") == "next");
}

TEST_CASE("a read-only folder is one sentence") {
  const Folder run;
  const auto in_read_only = [&](auto body) {
    ::chmod(run.path.c_str(), 0555);
    const int status = in_child([&] {
      // Nobody stops root from writing, so become somebody else.
      if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(3);
      try {
        body();
      } catch (const Error&) {
        ::_exit(7);
      }
    });
    ::chmod(run.path.c_str(), 0755);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  CHECK(in_read_only([&] { create_run_folder(run.path, "exp"); }) == 7);
  CHECK(in_read_only([&] { CheckpointWriter writer(run.path); }) == 7);
  CHECK(in_read_only([&] { MetricsLog::create(run / "metrics.jsonl"); }) == 7);
  CHECK(in_read_only([&] { RunConfig().save(run / "config.yaml"); }) == 7);
  CHECK(run.entries() == 0);
}

TEST_CASE("metrics: a resumed run leaves the file of an uninterrupted one") {
  const Folder run;
  const auto write_steps = [](MetricsLog& log, int first, int last) {
    for (int step = first; step <= last; ++step) {
      log.write(step, {{"loss", 1.0 / step}, {"lr", 1e-3}});
      if (step % 5 == 0)
        log.write(step, {{"test_rel_error", 0.1 / step}, {"note", "eval \"q\"\n"}});
    }
    log.sync();
  };
  MetricsLog whole = MetricsLog::create(run / "whole.jsonl");
  write_steps(whole, 1, 20);
  {
    MetricsLog log = MetricsLog::create(run / "killed.jsonl");
    write_steps(log, 1, 13);
  }
  append(run / "killed.jsonl", R"({"step":14,"lo)");  // torn by the kill
  {
    MetricsLog log = MetricsLog::resume(run / "killed.jsonl", 10);
    write_steps(log, 11, 17);
  }
  append(run / "killed.jsonl", std::string("\0\0\0\n", 4));  // a power cut
  {
    MetricsLog log = MetricsLog::resume(run / "killed.jsonl", 15);
    write_steps(log, 16, 20);
  }
  CHECK(read(run / "killed.jsonl") == read(run / "whole.jsonl"));
  CHECK_THROWS_WITH_AS(MetricsLog::create(run / "whole.jsonl"), doctest::Contains("whole.jsonl"),
                       Error);
  MetricsLog fresh = MetricsLog::resume(run / "fresh.jsonl", 10);
  fresh.write(11, {});
  CHECK(read(run / "fresh.jsonl") == "{\"step\":11}\n");
  CHECK_THROWS_WITH_AS(fresh.write(10, {}), doctest::Contains("rising order"), Error);
}

TEST_CASE("metrics read back as they were") {
  const Folder run;
  MetricsLog log = MetricsLog::create(run / "m.jsonl");
  log.write(3, {{"loss", 0.1}, {"count", std::int64_t{1} << 60}, {"text", "ä\n"}, {"bad", NAN}});
  append(run / "m.jsonl", "{\"step\": 4");
  const auto lines = read_metrics(run / "m.jsonl");
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].step == 3);
  REQUIRE(lines[0].values.size() == 4);
  CHECK(lines[0].values[0] == Metric{"loss", 0.1});
  CHECK(lines[0].values[1] == Metric{"count", std::int64_t{1} << 60});
  CHECK(lines[0].values[2] == Metric{"text", "ä\n"});
  CHECK(std::isnan(std::get<double>(lines[0].values[3].second)));
  data::atomic_write(run / "m.jsonl", "{\"step\": 1}\nnonsense\n{\"step\": 2}\n");
  CHECK_THROWS_WITH_AS(read_metrics(run / "m.jsonl"), doctest::Contains("line 2"), Error);
  CHECK_THROWS_AS(MetricsLog::resume(run / "m.jsonl", 5), Error);
  CHECK(read(run / "m.jsonl").size() == 33);
}

TEST_CASE("metrics: a line that does not fit on the disk leaves no part of itself") {
  const Folder run;
  MetricsLog log = MetricsLog::create(run / "m.jsonl");
  log.write(1, {{"loss", 0.5}});
  {
    const FullDisk disk(30);
    CHECK_THROWS_WITH_AS(log.write(2, {{"loss", 0.25}}), doctest::Contains("cannot be written"),
                         Error);
  }
  CHECK(read(run / "m.jsonl") == "{\"step\":1,\"loss\":0.5}\n");
  log.write(2, {{"loss", 0.25}});  // there is room again
  CHECK(read_metrics(run / "m.jsonl").size() == 2);
}

TEST_CASE("configurations round-trip") {
  RunConfig config;
  for (const double d : {0.1, 1.0 / 3, 1e-8, 5e-324, 1.7976931348623157e308, -0.0, 1e22, 3.0,
                         123456789.125, 1e16, 2.5e-7})
    config.set("d" + std::to_string(config.entries().size()), d);
  config.set("inf", INFINITY);
  config.set("minus_inf", -INFINITY);
  for (const std::int64_t i : {std::int64_t{0}, std::int64_t{-7}, INT64_MAX, INT64_MIN})
    config.set("i" + std::to_string(config.entries().size()), i);
  config.set("yes", true);
  config.set("no", false);
  config.set("none", ConfigValue{});
  for (const char* text : {"darcy",      "",           " padded ",    "null",
                           "true",       "Yes",        "1e-3",        "0x10",
                           "-",          "a: b",       "a #b",        "#a",
                           "it's",       "say \"hi\"", "back\\slash", "tab\tnew\nline\r\x01\x7f",
                           "[1, 2]",     "~",          "on",          "päth/to file",
                           "12",         ".5",         "a:",          "-.inf",
                           "/data/x.npz"})
    config.set("s" + std::to_string(config.entries().size()), text);
  const RunConfig back = RunConfig::parse(config.to_yaml());
  CHECK(back == config);
  CHECK(std::signbit(back.get<double>("d5")));
  config.set("nan", NAN);
  CHECK(std::isnan(RunConfig::parse(config.to_yaml()).get<double>("nan")));

  const Folder run;
  back.save(run / "config.yaml");
  CHECK(RunConfig::load(run / "config.yaml") == back);
  // PyYAML takes a float without a point for text.
  CHECK(to_yaml(ConfigValue(1e-8)) == "1.0e-08");
  CHECK(to_yaml(ConfigValue(3.0)) == "3.0");
  CHECK(to_yaml(ConfigValue(std::string("no"))) == "\"no\"");
  CHECK(to_yaml(ConfigValue(std::string("adamw"))) == "adamw");
}

TEST_CASE("configurations as PyYAML writes them") {
  const RunConfig c = RunConfig::parse(
      "---\n# a comment\ntrain: true\nlearning_rate: 1.0e-08  # small\nload_weights_path: null\n"
      "empty:\nname: 'it''s'\r\nurl: http://x#y\nepochs: 500\nplus: +5\n...\nignored: 1\n");
  CHECK(c.get<bool>("train"));
  CHECK(c.get<double>("learning_rate") == 1e-8);
  CHECK(c.is_null("load_weights_path"));
  CHECK(c.is_null("empty"));
  CHECK(c.get<std::string>("name") == "it's");
  CHECK(c.get<std::string>("url") == "http://x#y");
  CHECK(c.get<double>("epochs") == 500.0);
  CHECK(c.get<std::int64_t>("plus") == 5);
  CHECK_FALSE(c.has("ignored"));
  CHECK(c.get_or<double>("empty", 2.5) == 2.5);
  CHECK(c.get_or<std::string>("missing", "x") == "x");
  const std::string known[] = {"train", "learning_rate", "epochs", "empty", "name", "plus"};
  CHECK(c.unknown_keys(known) == std::vector<std::string>{"load_weights_path", "url"});
  CHECK_THROWS_WITH_AS(c.get<std::int64_t>("learning_rate"),
                       "[config] learning_rate: expected an integer; got 1.0e-08", Error);
  CHECK_THROWS_WITH_AS(c.at("missing"), doctest::Contains("'missing'"), Error);
  CHECK_THROWS_AS(RunConfig().set("a b", 1.0), Error);
}

TEST_CASE("configurations that are not flat are refused, with the line") {
  for (const char* bad :
       {"a: 1\nb:\n  c: 2\n", "a: 1\n- b\n", "a: 1\nb: [1, 2]\n", "a: 1\nb: {c: 1}\n",
        "a: 1\nb: |\n", "a: 1\nb: &x 1\n", "a: 1\nb: !!int 1\n", "a: 1\nno colon\n", "a: 1\na: 2\n",
        "a: 1\nb:2\n", "a: 1\nb: 'open\n", "a: 1\nb: \"open\n", "a: 1\nb: \"x\" y\n",
        "a: 1\nb: c: d\n", "a: 1\nb: 99999999999999999999\n", "a: 1\nb: 1e999\n", "a: 1\n: 2\n",
        "a: 1\nb: \"\\q\"\n", "a: 1\n\"b\": 1\n"}) {
    CAPTURE(bad);
    const bool nested = std::string_view(bad).find("  c") != std::string_view::npos;
    CHECK_THROWS_WITH_AS(RunConfig::parse(bad, "c.yaml"),
                         doctest::Contains(nested ? "c.yaml: line 3" : "c.yaml: line 2"), Error);
  }
  CHECK_THROWS_AS(RunConfig::load("/nonexistent/config.yaml"), Error);
}
