// SPDX-License-Identifier: MIT
#include "opening.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include "fd.h"
#include "pg_wire.h"

namespace pg_gateway {

namespace {

// A refusal is shorter than this; what is longer is passed on.
constexpr std::size_t kAnswerBytes = 4096;

ssize_t peek(int fd, void* into, std::size_t bytes) {
  ssize_t got = 0;
  do {
    got = ::recv(fd, into, bytes, MSG_PEEK | MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  return got;
}

// Of the message that these bytes begin with.
StartupHeader header_of(const char* bytes) {
  std::array<std::uint8_t, kStartupHeaderBytes> header;  // NOLINT
  std::copy_n(bytes, header.size(), header.begin());
  return parse_startup_header(header);
}

}  // namespace

FirstWords first_words(int client) {
  // A client that speaks TLS at once (sslnegotiation=direct) begins with a record of this type.
  constexpr char kTlsHandshake = 22;
  std::array<char, kMaxStartupBytes> bytes;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  const ssize_t got = peek(client, bytes.data(), bytes.size());
  if (got == 0 || (got < 0 && errno == ECONNRESET)) return FirstWords::kNone;
  if (got < ssize_t{kStartupHeaderBytes}) return FirstWords::kIncomplete;
  const StartupHeader header = header_of(bytes.data());
  if (!header.has_valid_length && bytes[0] != kTlsHandshake) return FirstWords::kForeign;
  const bool whole = header.kind == StartupKind::kInvalid ||
                     static_cast<std::size_t>(got) >= kStartupHeaderBytes + header.rest;
  return whole ? FirstWords::kWhole : FirstWords::kIncomplete;
}

bool is_whole_message(int client, std::uint32_t bytes) {
  std::array<char, kStartupHeaderBytes> head{};
  if (bytes < head.size() || peek(client, head.data(), head.size()) < ssize_t{head.size()}) {
    return false;
  }
  return kStartupHeaderBytes + header_of(head.data()).rest == bytes;
}

bool declines_encryption(int backend) {
  std::array<char, 2> answer{};
  return peek(backend, answer.data(), answer.size()) == 1 && answer[0] == kEncryptionRefused;
}

bool discard_bytes(int socket, std::uint32_t bytes) {
  // A message goes in one piece: a kill leaves all of it or nothing.
  std::array<char, kMaxStartupBytes> scratch;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  while (bytes > 0) {
    const ssize_t got =
        ::recv(socket, scratch.data(), std::min<std::size_t>(scratch.size(), bytes), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes -= static_cast<std::uint32_t>(got);
  }
  return true;
}

OpeningProgress Opening::advance(int client, int backend) {
  if (ahead == 0) {
    const OpeningProgress progress = pass_on(client, backend);
    if (ahead == 0) return progress;
  }
  return read_answer(client, backend);
}

// The server has them: they leave the queue, and are not to be relayed.
OpeningProgress Opening::take_out_ahead(int client) {
  const std::uint32_t bytes = std::exchange(ahead, 0);
  if (!discard_bytes(client, bytes)) return OpeningProgress::kBroken;
  passed_on += bytes;
  return OpeningProgress::kOver;
}

OpeningProgress Opening::pass_on(int client, int backend) {
  std::array<char, kMaxStartupBytes> bytes;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  const ssize_t got = peek(client, bytes.data(), bytes.size());
  if (got <= 0) {
    const bool nothing_yet = got < 0 && errno == EAGAIN;
    if (!nothing_yet) return OpeningProgress::kOver;  // its end is the relay's affair
    // A server that speaks first closes, or is none of ours.
    return backend_ended ? read_answer(client, backend) : OpeningProgress::kWaiting;
  }
  const auto have = static_cast<std::size_t>(got);
  const OpeningProgress incomplete =
      client_ended || backend_ended ? OpeningProgress::kOver : OpeningProgress::kWaiting;
  if (have < kStartupHeaderBytes) return incomplete;
  const StartupHeader message = header_of(bytes.data());
  // A CancelRequest has no answer; what is not understood is the server's to complain of.
  if (message.kind == StartupKind::kInvalid || message.kind == StartupKind::kCancelRequest) {
    return OpeningProgress::kOver;
  }
  const std::size_t whole = kStartupHeaderBytes + message.rest;
  if (have < whole) return incomplete;
  const ssize_t sent = ::send(backend, bytes.data(), whole, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) {
    const bool ours = errno == EAGAIN || errno == EINTR || out_of_resources(errno);
    return ours ? OpeningProgress::kOver : OpeningProgress::kRefused;
  }
  ahead = static_cast<std::uint32_t>(sent);
  if (ahead == whole) return OpeningProgress::kWaiting;
  // The socket's buffer took a part only: the relay has the patience for the rest.
  return take_out_ahead(client);
}

OpeningProgress Opening::read_answer(int client, int backend) {
  std::array<char, kAnswerBytes> bytes;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  const ssize_t got = peek(backend, bytes.data(), bytes.size());
  if (got < 0 && errno == EAGAIN) return OpeningProgress::kWaiting;
  // What cannot be looked at is passed on: that it cannot is not the server's fault.
  if (got < 0 && out_of_resources(errno)) return take_out_ahead(client);
  if (got <= 0) return OpeningProgress::kRefused;
  const std::string_view answer(bytes.data(), static_cast<std::size_t>(got));
  const bool asked_for_encryption = ahead == kStartupHeaderBytes;
  if (!asked_for_encryption) {
    switch (judge_refusal(answer)) {
      case Refusal::kIncomplete:
        if (!backend_ended && answer.size() < bytes.size()) return OpeningProgress::kWaiting;
        break;
      case Refusal::kCannotConnectNow:
        return OpeningProgress::kRefused;
      case Refusal::kNone:
        break;
    }
  }
  const OpeningProgress progress = take_out_ahead(client);
  return progress == OpeningProgress::kOver && asked_for_encryption &&
                 answer == std::string_view(&kEncryptionRefused, 1)
             ? OpeningProgress::kDeclined
             : progress;
}

}  // namespace pg_gateway
