// SPDX-License-Identifier: MIT
// Source of the numbers: PostgreSQL manual, "Message Formats".
#include "pg_wire.h"

#include <doctest/doctest.h>

#include <string>

namespace pg_gateway {

namespace {

std::array<std::uint8_t, kStartupHeaderBytes> header(std::uint32_t length, std::uint32_t code) {
  std::array<std::uint8_t, kStartupHeaderBytes> bytes{};
  for (std::size_t i = 0; i < 4; ++i) {
    bytes[i] = static_cast<std::uint8_t>(length >> (24 - 8 * i));
    bytes[4 + i] = static_cast<std::uint8_t>(code >> (24 - 8 * i));
  }
  return bytes;
}

constexpr std::uint32_t kSsl = 80877103;
constexpr std::uint32_t kGss = 80877104;
constexpr std::uint32_t kCancel = 80877102;
constexpr std::uint32_t kVersion30 = 3 << 16;
constexpr std::uint32_t kVersion32 = (3 << 16) + 2;

}  // namespace

TEST_CASE("startup headers") {
  struct Row {
    const char* what;
    std::uint32_t length;
    std::uint32_t code;
    StartupKind kind;
  };
  using K = StartupKind;
  const Row rows[] = {
      {"protocol 3.0", 84, kVersion30, K::kStartup},
      {"protocol 3.2", 84, kVersion32, K::kStartup},
      {"a minor version of the future", 84, kVersion30 + 9999, K::kStartup},
      {"the shortest startup message", 8, kVersion30, K::kStartup},
      {"the longest startup message", 10004, kVersion30, K::kStartup},
      {"one byte too long", 10005, kVersion30, K::kInvalid},
      {"shorter than its own header", 7, kVersion30, K::kInvalid},
      {"no length", 0, kVersion30, K::kInvalid},
      {"a negative length", 0xffffffff, kVersion30, K::kInvalid},
      {"protocol 2.0", 296, 2 << 16, K::kInvalid},
      {"protocol 4.0", 84, 4 << 16, K::kInvalid},
      {"protocol 0", 84, 0, K::kInvalid},
      {"SSLRequest", 8, kSsl, K::kSslRequest},
      {"SSLRequest with something behind it", 9, kSsl, K::kInvalid},
      {"GSSENCRequest", 8, kGss, K::kGssEncRequest},
      {"GSSENCRequest with something behind it", 12, kGss, K::kInvalid},
      {"CancelRequest", 16, kCancel, K::kCancelRequest},
      {"CancelRequest with a long key (protocol 3.2)", 44, kCancel, K::kCancelRequest},
      {"the request code after the last known", 8, kGss + 1, K::kInvalid},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    const StartupHeader parsed = parse_startup_header(header(row.length, row.code));
    CHECK(parsed.kind == row.kind);
    if (row.kind != K::kInvalid) CHECK(parsed.rest == row.length - kStartupHeaderBytes);
  }
}

TEST_CASE("text and HTTP are not startup messages") {
  for (const char* text : {"GET / HT", "\x16\x03\x01\x02\x00\x01\x00\x01", "SSH-2.0-"}) {
    std::array<std::uint8_t, kStartupHeaderBytes> bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(text[i]);
    CHECK(parse_startup_header(bytes).kind == StartupKind::kInvalid);
  }
}

TEST_CASE("an ErrorResponse, byte by byte") {
  using namespace std::string_literals;
  CHECK(fatal_error_response("57P03", "down", "") ==
        "E\0\0\0\x20"
        "SFATAL\0VFATAL\0C57P03\0Mdown\0\0"s);
  CHECK(fatal_error_response("53300", "a", "b.") ==
        "E\0\0\0\x21"
        "SFATAL\0VFATAL\0C53300\0Ma\0Db.\0\0"s);
}

TEST_CASE("the length of a long ErrorResponse") {
  const std::string response = fatal_error_response("57P03", std::string(70'000, 'x'), "");
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(response[i]); };
  const std::size_t told = std::size_t{byte(1)} << 24 | std::size_t{byte(2)} << 16 |
                           std::size_t{byte(3)} << 8 | std::size_t{byte(4)};
  CHECK(told + 1 == response.size());
}

TEST_CASE("a refusal is known by its SQLSTATE, whole or not at all") {
  const std::string going = fatal_error_response("57P03", "the database system is starting up", {});
  CHECK(judge_refusal(going) == Refusal::kCannotConnectNow);
  CHECK(judge_refusal(going + "more") == Refusal::kCannotConnectNow);
  for (const char* code : {"57P01", "57P02"}) {
    CHECK(judge_refusal(fatal_error_response(code, "m", "d")) == Refusal::kCannotConnectNow);
  }
  for (const char* code : {"57P04", "57014", "53300", "28P01", "3D000"}) {
    CHECK(judge_refusal(fatal_error_response(code, "57P03", "57P03")) == Refusal::kNone);
  }
  for (std::size_t some = 1; some < going.size(); ++some) {
    CHECK(judge_refusal(going.substr(0, some)) == Refusal::kIncomplete);
  }
  using namespace std::string_literals;
  const std::string accepted = "R\0\0\0\x08\0\0\0\0"s;
  const std::string parameter =
      "S\0\0\0\x0a"
      "a\0b\0\0\0"s;
  const std::string ready = "Z\0\0\0\5I"s;
  CHECK(judge_refusal(accepted + parameter + going) == Refusal::kCannotConnectNow);
  CHECK(judge_refusal(accepted + parameter) == Refusal::kIncomplete);
  CHECK(judge_refusal(accepted + parameter + ready) == Refusal::kNone);
  CHECK(judge_refusal("R\0\0\0\x08\0\0\0\3"s) == Refusal::kNone);  // a password is wanted
  const auto error = [](const std::string& length, const std::string& fields) {
    return judge_refusal("E" + length + fields);
  };
  CHECK(judge_refusal("") == Refusal::kNone);
  CHECK(judge_refusal("R") == Refusal::kIncomplete);
  CHECK(judge_refusal("Z") == Refusal::kNone);
  CHECK(error(std::string("\0\0\0\3", 4), "") == Refusal::kNone);          // shorter than itself
  CHECK(error("\xff\xff\xff\xff", "") == Refusal::kNone);                  // longer than any
  CHECK(error(std::string("\0\0\0\4", 4), "") == Refusal::kNone);          // no field
  CHECK(error(std::string("\0\0\0\x0a", 4), "C57P03") == Refusal::kNone);  // no end
  CHECK(error(std::string("\0\0\0\5", 4), "C") == Refusal::kNone);
}

}  // namespace pg_gateway
