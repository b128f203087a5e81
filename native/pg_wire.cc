// SPDX-License-Identifier: MIT
#include "pg_wire.h"

namespace pg_gateway {

namespace {

constexpr std::uint32_t kCancelRequestCode = 80877102;
constexpr std::uint32_t kSslRequestCode = 80877103;
constexpr std::uint32_t kGssEncRequestCode = 80877104;
constexpr std::uint32_t kProtocolMajor = 3;

std::uint32_t read_be32(const std::uint8_t* bytes) {
  return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 |
         std::uint32_t{bytes[2]} << 8 | std::uint32_t{bytes[3]};
}

void append_be32(std::string& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(value >> shift & 0xff));
  }
}

constexpr std::string_view kAuthenticationOk{"\0\0\0\0", 4};

// Whether the fields of an ErrorResponse have one of the codes in which a server serves nobody.
bool says_nobody_is_served(std::string_view fields) {
  while (!fields.empty() && fields[0] != '\0') {
    const std::size_t end = fields.find('\0');
    if (end == std::string_view::npos) return false;
    if (fields[0] == 'C') {
      const std::string_view code = fields.substr(1, end - 1);
      return code == "57P01" || code == "57P02" || code == "57P03";
    }
    fields.remove_prefix(end + 1);
  }
  return false;
}

void append_field(std::string& out, char type, std::string_view text) {
  out.push_back(type);
  out.append(text);
  out.push_back('\0');
}

}  // namespace

StartupHeader parse_startup_header(const std::array<std::uint8_t, kStartupHeaderBytes>& bytes) {
  const std::uint32_t length = read_be32(bytes.data());
  const std::uint32_t code = read_be32(bytes.data() + 4);
  if (length < kStartupHeaderBytes || length > kMaxStartupBytes) return {};
  const std::uint32_t rest = length - static_cast<std::uint32_t>(kStartupHeaderBytes);
  switch (code) {
    case kSslRequestCode:
      return {rest == 0 ? StartupKind::kSslRequest : StartupKind::kInvalid, rest, true};
    case kGssEncRequestCode:
      return {rest == 0 ? StartupKind::kGssEncRequest : StartupKind::kInvalid, rest, true};
    case kCancelRequestCode:
      return {StartupKind::kCancelRequest, rest, true};
    default:
      return {code >> 16 == kProtocolMajor ? StartupKind::kStartup : StartupKind::kInvalid, rest,
              true};
  }
}

Refusal judge_refusal(std::string_view answer) {
  constexpr std::size_t kHead = 5;  // type and length, which counts itself
  // Longer than anything that comes before or in a refusal: what is so long is passed on.
  constexpr std::uint32_t kLongest = 2000;
  // AuthenticationOk and what follows it leave the server together with ReadyForQuery, or with
  // the error that came instead.
  constexpr std::string_view kBeforeReady = "RSKNv";
  for (std::string_view rest = answer; !rest.empty();) {
    const char type = rest[0];
    if (type != 'E' && kBeforeReady.find(type) == std::string_view::npos) return Refusal::kNone;
    if (rest.size() < kHead) return Refusal::kIncomplete;
    const std::uint32_t length = read_be32(reinterpret_cast<const std::uint8_t*>(rest.data()) + 1);
    if (length < 4 || length > kLongest) return Refusal::kNone;
    if (rest.size() < 1 + length) return Refusal::kIncomplete;
    const std::string_view body = rest.substr(kHead, length - 4);
    if (type == 'E')
      return says_nobody_is_served(body) ? Refusal::kCannotConnectNow : Refusal::kNone;
    if (type == 'R' && body != kAuthenticationOk) return Refusal::kNone;
    rest.remove_prefix(1 + length);
  }
  return answer.empty() ? Refusal::kNone : Refusal::kIncomplete;
}

std::string fatal_error_response(std::string_view sqlstate, std::string_view message,
                                 std::string_view detail) {
  std::string fields;
  append_field(fields, 'S', "FATAL");
  append_field(fields, 'V', "FATAL");
  append_field(fields, 'C', sqlstate);
  append_field(fields, 'M', message);
  if (!detail.empty()) append_field(fields, 'D', detail);
  fields.push_back('\0');

  std::string out;
  out.push_back('E');
  append_be32(out, static_cast<std::uint32_t>(fields.size() + 4));
  out += fields;
  return out;
}

}  // namespace pg_gateway
