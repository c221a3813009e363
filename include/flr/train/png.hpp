// Pictures as PNG files (ISO/IEC 15948), 8-bit RGB.
#pragma once

#include <filesystem>
#include <string>

#include "flr/train/image.hpp"

namespace flr::train {

/// The bytes of a PNG file.
std::string encode_png(const Image& image);

/// Writes a PNG file in one piece: a failure leaves what stood at `path`.
void write_png(const std::filesystem::path& path, const Image& image);

}  // namespace flr::train
