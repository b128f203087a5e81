// SPDX-License-Identifier: MIT
#include "rejection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace pg_gateway {

namespace {

// A client that goes on talking after it was told to leave is not listened to for ever.
constexpr std::uint32_t kMaxIgnoredBytes = 64 * 1024;

ssize_t receive(int fd, void* into, std::size_t bytes, int flags = 0) {
  ssize_t got = 0;
  do {
    got = ::recv(fd, into, bytes, MSG_DONTWAIT | flags);
  } while (got < 0 && errno == EINTR);
  return got;
}

// Whoever sends one does so at once; of one in pieces nothing is made. A server that got its
// beginning alone would wait for the rest.
bool has_whole_cancel(int client) {
  std::array<std::uint8_t, kStartupHeaderBytes + kMaxCancelRest> bytes{};
  const ssize_t got = receive(client, bytes.data(), bytes.size(), MSG_PEEK);
  if (got < static_cast<ssize_t>(kStartupHeaderBytes)) return false;
  std::array<std::uint8_t, kStartupHeaderBytes> first{};
  std::copy_n(bytes.begin(), first.size(), first.begin());
  const StartupHeader header = parse_startup_header(first);
  return header.kind == StartupKind::kCancelRequest && header.rest >= kMinCancelRest &&
         header.rest <= kMaxCancelRest &&
         got >= static_cast<ssize_t>(kStartupHeaderBytes + header.rest);
}

bool send_all(int fd, const char* bytes, std::size_t count) {
  // A fresh socket's send buffer takes these few bytes at once; if it does not, the
  // peer is not worth waiting for.
  return ::send(fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL) == static_cast<ssize_t>(count);
}

}  // namespace

// PostgreSQL accepts each kind of encryption request once; so a client cannot keep
// us busy with them either.
bool Rejection::decline_encryption(int client, bool& already_asked) {
  if (std::exchange(already_asked, true)) return false;
  have_ = 0;
  return send_all(client, &kEncryptionRefused, 1);
}

RejectProgress Rejection::answer(int client) {
  phase_ = Phase::kLingering;
  if (!send_all(client, response_.data(), response_.size())) return RejectProgress::kDone;
  response_.clear();
  response_.shrink_to_fit();
  ::shutdown(client, SHUT_WR);
  return RejectProgress::kAnswered;
}

// A whole header has been read: what does it want?
RejectProgress Rejection::take_header(int client) {
  const StartupHeader header = parse_startup_header(header_);
  switch (header.kind) {
    case StartupKind::kSslRequest:
      return decline_encryption(client, ssl_asked_) ? RejectProgress::kWaiting
                                                    : RejectProgress::kMalformed;
    case StartupKind::kGssEncRequest:
      return decline_encryption(client, gss_asked_) ? RejectProgress::kWaiting
                                                    : RejectProgress::kMalformed;
    case StartupKind::kCancelRequest:
      cancel_asked_ = true;
      return RejectProgress::kDone;  // never answered (protocol, "Canceling Requests in Progress")
    case StartupKind::kInvalid:
      return RejectProgress::kMalformed;
    case StartupKind::kStartup:
      break;
  }
  remaining_ = header.rest;
  phase_ = Phase::kSkipping;
  return remaining_ == 0 ? answer(client) : RejectProgress::kWaiting;
}

RejectProgress Rejection::advance(int client) {
  std::array<char, 2048> scratch;  // NOLINT(cppcoreguidelines-pro-type-member-init): overwritten
  for (;;) {
    void* into = scratch.data();
    std::size_t want = scratch.size();
    if (phase_ == Phase::kHeader) {
      if (have_ == 0 && has_whole_cancel(client)) {
        cancel_asked_ = true;
        return RejectProgress::kCancels;
      }
      into = header_.data() + have_;
      want = header_.size() - have_;
    } else if (phase_ == Phase::kSkipping) {
      want = std::min<std::size_t>(want, remaining_);
    }
    const ssize_t got = receive(client, into, want);
    if (got < 0 && errno == EAGAIN) {
      return answered() ? RejectProgress::kAnswered : RejectProgress::kWaiting;
    }
    if (got <= 0) return answered() ? RejectProgress::kDone : RejectProgress::kMalformed;

    const auto count = static_cast<std::uint32_t>(got);
    RejectProgress progress = RejectProgress::kWaiting;
    switch (phase_) {
      case Phase::kHeader:
        have_ += count;
        if (have_ == header_.size()) progress = take_header(client);
        break;
      case Phase::kSkipping:
        remaining_ -= count;
        if (remaining_ == 0) progress = answer(client);
        break;
      case Phase::kLingering:
        ignored_ += count;
        if (ignored_ > kMaxIgnoredBytes) progress = RejectProgress::kDone;
        break;
    }
    if (progress == RejectProgress::kDone || progress == RejectProgress::kMalformed)
      return progress;
  }
}

}  // namespace pg_gateway
