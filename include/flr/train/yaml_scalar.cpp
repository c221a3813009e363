#include "flr/train/yaml_scalar.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace flr::train {

namespace {

constexpr std::string_view blanks = " \t";

std::string_view trimmed(std::string_view s) {
  const auto first = s.find_first_not_of(blanks);
  if (first == s.npos) return {};
  return s.substr(first, s.find_last_not_of(blanks) - first + 1);
}

bool one_of(std::string_view s, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), s) != words.end();
}

// Words that some YAML reader takes for something other than text.
bool is_reserved(std::string s) {
  for (char& c : s)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return one_of(s, {"null", "true", "false", "yes", "no", "on", "off", "y", "n"});
}

bool is_plain(const std::string& s) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/';
  };
  if (s.empty() || !letter(s[0]) || is_reserved(s)) return false;
  return std::all_of(s.begin(), s.end(), [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+';
  });
}

std::string quoted(const std::string& s) {
  std::string out = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\')
      out += std::string("\\") + c;
    else if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\r')
      out += "\\r";
    else if (static_cast<unsigned char>(c) < 32 || c == 127)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out + '"';
}

// YAML 1.1 takes a number for a float only with a point in its mantissa.
std::string to_text(double v) {
  if (std::isnan(v)) return ".nan";
  if (std::isinf(v)) return v > 0 ? ".inf" : "-.inf";
  std::string text = fmt::format("{}", v);
  if (text.find('.') == text.npos) text.insert(std::min(text.find('e'), text.size()), ".0");
  return text;
}

// What follows a closing quote may only be a comment.
void check_end(std::string_view rest, const std::string& where) {
  const auto tail = trimmed(rest);
  check(tail.empty() || (tail[0] == '#' && rest[0] != '#'),
        "{}: expected nothing after the closing quote; got '{}'", where, tail);
}

std::string read_single(std::string_view text, const std::string& where) {
  std::string out;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] != '\'') {
      out += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == '\'') {
      out += text[i++];
    } else {
      check_end(text.substr(i + 1), where);
      return out;
    }
  }
  fail("{}: expected a closing quote; got {}", where, text);
}

std::string read_double(std::string_view text, const std::string& where) {
  std::string out;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') {
      check_end(text.substr(i + 1), where);
      return out;
    }
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    const char c = ++i < text.size() ? text[i] : '\0';
    if (c == 'n')
      out += '\n';
    else if (c == 't')
      out += '\t';
    else if (c == 'r')
      out += '\r';
    else if (c == '"' || c == '\\' || c == '/')
      out += c;
    else if (c == 'x' && i + 2 < text.size()) {
      unsigned code = 0;
      const auto end = text.data() + i + 3;
      const auto [stop, error] = std::from_chars(text.data() + i + 1, end, code, 16);
      check(error == std::errc() && stop == end && code < 128,
            "{}: expected an ASCII code of two digits after \\x", where);
      out += static_cast<char>(code);
      i += 2;
    } else {
      fail("{}: expected an escape out of \\n \\t \\r \\\" \\\\ \\xNN; got \\{}", where, c);
    }
  }
  fail("{}: expected a closing quote; got {}", where, text);
}

ConfigValue read_plain(std::string_view s, const std::string& where) {
  if (one_of(s, {"", "~", "null", "Null", "NULL"})) return std::monostate{};
  if (one_of(s, {"true", "True", "TRUE"})) return true;
  if (one_of(s, {"false", "False", "FALSE"})) return false;
  if (one_of(s, {".nan", ".NaN", ".NAN"})) return std::numeric_limits<double>::quiet_NaN();
  if (one_of(s, {".inf", "+.inf"})) return std::numeric_limits<double>::infinity();
  if (s == "-.inf") return -std::numeric_limits<double>::infinity();
  const auto digits = s.substr(s[0] == '+' ? 1 : 0);
  if (digits.empty() || digits.find_first_not_of("0123456789+-.eE") != digits.npos)
    return std::string(s);
  std::int64_t integer = 0;
  const auto end = digits.data() + digits.size();
  const auto as_integer = std::from_chars(digits.data(), end, integer);
  if (as_integer.ptr == end) {
    check(as_integer.ec == std::errc(), "{}: expected an integer of 64 bits; got {}", where, s);
    return integer;
  }
  double number = 0;
  const auto as_number = std::from_chars(digits.data(), end, number);
  if (as_number.ptr != end) return std::string(s);
  check(as_number.ec == std::errc(), "{}: expected a number within double's range; got {}", where,
        s);
  return number;
}

}  // namespace

std::string to_yaml(const ConfigValue& value) {
  if (const auto* b = std::get_if<bool>(&value)) return *b ? "true" : "false";
  if (const auto* i = std::get_if<std::int64_t>(&value)) return fmt::format("{}", *i);
  if (const auto* d = std::get_if<double>(&value)) return to_text(*d);
  if (const auto* s = std::get_if<std::string>(&value)) return is_plain(*s) ? *s : quoted(*s);
  return "null";
}

ConfigValue detail::parse_yaml_scalar(std::string_view text, const std::string& where) {
  text = trimmed(text);
  if (text.empty() || text[0] == '#') return std::monostate{};
  if (text[0] == '\'') return read_single(text, where);
  if (text[0] == '"') return read_double(text, where);
  check(std::string_view("[]{}|>&*!%@`").find(text[0]) == text.npos,
        "{}: expected a plain value (lists, maps, blocks, anchors and tags are not read); got {}",
        where, text);
  for (const std::string_view comment : {" #", "\t#"}) text = text.substr(0, text.find(comment));
  text = trimmed(text);
  check(text.find(": ") == text.npos && text.back() != ':',
        "{}: expected one key and one value a line; got {}", where, text);
  return read_plain(text, where);
}

}  // namespace flr::train
