// The command line of make_darcy.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "flr/data/array.hpp"
#include "flr/data/darcy_part.hpp"

/// One file that the program writes: samples [begin, end).
struct Output {
  std::filesystem::path path;
  flr::index_t begin, end;
};

struct Options {
  flr::data::DarcySet set;
  std::vector<Output> outputs;
  std::filesystem::path part;  ///< partial results
  flr::data::ElementType type = flr::data::ElementType::f32;
  int threads = 1;
  bool resume = false;
};

/// Parses and checks the command line. Empty where help was asked for and has been printed. Throws
/// flr::Error with one sentence where something is wrong.
std::optional<Options> parse_options(int argc, char** argv);
