// SPDX-License-Identifier: MIT
// A client that cannot be served is told so in PostgreSQL's words: its startup
// message is read (SSL and GSS encryption are declined first), an ErrorResponse is
// sent, and the socket is closed only when the client has hung up or its time is
// over, so that no RST overtakes the message.
//
// Owns nothing (the session owns the socket). Thread: its worker's.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>

#include "pg_wire.h"

namespace pg_gateway {

enum class RejectProgress : std::uint8_t {
  kWaiting,    // for more bytes of the client
  kAnswered,   // the error is sent; waiting for the client to hang up
  kDone,       // nothing left to do: close
  kCancels,    // a CancelRequest, whose bytes are still in the client's queue
  kMalformed,  // not a startup message, or the client broke off: close
};

class Rejection {
 public:
  // `response` is sent as it stands once the startup message has been read.
  explicit Rejection(std::string response) : response_(std::move(response)) {}

  // Reads what the client has sent and answers. Edge-triggered: reads to EAGAIN.
  [[nodiscard]] RejectProgress advance(int client);
  bool answered() const { return phase_ == Phase::kLingering; }
  // True once the client has sent any message of the protocol: a port scan never does.
  bool heard() const { return answered() || ssl_asked_ || gss_asked_ || cancel_asked_; }

 private:
  enum class Phase : std::uint8_t { kHeader, kSkipping, kLingering };

  RejectProgress take_header(int client);
  RejectProgress answer(int client);
  bool decline_encryption(int client, bool& already_asked);

  std::string response_;
  std::array<std::uint8_t, kStartupHeaderBytes> header_{};
  std::uint32_t have_ = 0;       // bytes of header_
  std::uint32_t remaining_ = 0;  // bytes of the message still to skip
  std::uint32_t ignored_ = 0;    // bytes thrown away after the answer
  Phase phase_ = Phase::kHeader;
  bool ssl_asked_ = false;
  bool gss_asked_ = false;
  bool cancel_asked_ = false;
};

}  // namespace pg_gateway
