// SPDX-License-Identifier: MIT
// The few messages of the PostgreSQL protocol a gateway must know: those a client
// may send before its session begins, and the error it is answered with.
// Source: PostgreSQL manual, "Frontend/Backend Protocol", "Message Formats";
// limits as in PostgreSQL's src/include/libpq/pqcomm.h.
//
// Owns nothing; pure functions. Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace pg_gateway {

// What the first eight bytes of an untyped message announce.
enum class StartupKind : std::uint8_t {
  kStartup,  // StartupMessage, protocol 3.x
  kSslRequest,
  kGssEncRequest,
  kCancelRequest,
  kInvalid,
};

struct StartupHeader {
  StartupKind kind = StartupKind::kInvalid;
  // Bytes of the message after these eight.
  std::uint32_t rest = 0;
  // One that PostgreSQL reads on for.
  bool has_valid_length = false;
};

inline constexpr std::size_t kStartupHeaderBytes = 8;
// MAX_STARTUP_PACKET_LENGTH, which the length itself does not count for (ProcessStartupPacket() in
// PostgreSQL's src/backend/postmaster/postmaster.c), and that: PostgreSQL itself refuses more.
inline constexpr std::uint32_t kMaxStartupBytes = 10000 + 4;
// What follows the header of a CancelRequest: the process id, and a key of four bytes, since
// protocol 3.2 of up to 256.
inline constexpr std::uint32_t kMinCancelRest = 8;
inline constexpr std::uint32_t kMaxCancelRest = 260;

StartupHeader parse_startup_header(const std::array<std::uint8_t, kStartupHeaderBytes>& bytes);

// "No" to SSLRequest and GSSENCRequest: the client may go on in plain text.
inline constexpr char kEncryptionRefused = 'N';

// Whether the beginning of a server's answer to a startup message says that it serves nobody
// now: an ErrorResponse with SQLSTATE 57P01, 57P02 or 57P03 (admin_shutdown, crash_shutdown,
// cannot_connect_now), at once or after AuthenticationOk, before it is ready for a query.
enum class Refusal : std::uint8_t { kNone, kCannotConnectNow, kIncomplete };
Refusal judge_refusal(std::string_view answer);

// An ErrorResponse of severity FATAL. `sqlstate` has five characters; `detail` may
// be empty. The texts must not contain NUL.
std::string fatal_error_response(std::string_view sqlstate, std::string_view message,
                                 std::string_view detail);

}  // namespace pg_gateway
