// PostgreSQL arrays as text, the form in which a statement takes many rows at once.
#ifndef STORAGE_POSTGRES_SQL_ARRAY_H_
#define STORAGE_POSTGRES_SQL_ARRAY_H_

#include <charconv>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace energysites::storage {

class SqlArray {
 public:
  void Add(int64_t value) { AddNumber(value); }
  // The shortest text that reads back as the same double.
  void Add(double value) { AddNumber(value); }
  void Add(bool value) { AddWord(value ? "t" : "f"); }
  // `word` has none of the characters that an array quotes, as is so of SqlFromTimestamp's.
  void AddWord(absl::string_view word) {
    text_.append(word.data(), word.size());
    text_ += ',';
  }

  // The array as a parameter; to be taken once.
  std::string Take() {
    if (text_.size() > 1) text_.pop_back();
    text_ += '}';
    return std::move(text_);
  }

 private:
  template <class Number>
  void AddNumber(Number value) {
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
    AddWord({digits, static_cast<size_t>(end - digits)});
  }

  std::string text_ = "{";
};

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_SQL_ARRAY_H_
