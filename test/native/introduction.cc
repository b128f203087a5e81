// SPDX-License-Identifier: MIT
#include "introduction.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "conversation.h"
#include "pg_wire.h"
#include "support.h"

namespace pg_gateway::test {

namespace {

const std::string kSslRequest{"\0\0\0\x08\x04\xd2\x16\x2f", 8};
const std::string kGssRequest{"\0\0\0\x08\x04\xd2\x16\x30", 8};
// So that the other side sees one piece, and not yet the next.
constexpr std::int64_t kPieceNs = 500'000;

void append_be32(std::string& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(value >> shift & 0xff));
  }
}

std::uint32_t read_be32(const std::string& bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = at; i < at + 4; ++i)
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

std::deque<std::string> in_pieces(const std::string& whole, std::initializer_list<std::size_t> at) {
  std::deque<std::string> pieces;
  std::size_t from = 0;
  for (const std::size_t to : at) {
    pieces.push_back(whole.substr(from, to - from));
    from = to;
  }
  pieces.push_back(whole.substr(from));
  return pieces;
}

}  // namespace

std::vector<std::string> messages_of(std::uint32_t id, const Introduction& introduction) {
  std::vector<std::string> messages;
  for (const char request : introduction.requests) {
    messages.push_back(request == 'G' ? kGssRequest : kSslRequest);
  }
  std::string startup;
  append_be32(startup, static_cast<std::uint32_t>(introduction.startup_bytes));
  append_be32(startup, 3U << 16);
  append_be32(startup, id);
  startup += pattern_bytes(introduction.startup_bytes - startup.size(), id);
  messages.push_back(startup);
  return messages;
}

std::string welcome(std::uint32_t id, std::uint32_t server) {
  std::string answer{"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c", 14};
  append_be32(answer, id);
  append_be32(answer, server);
  return answer + std::string("Z\0\0\0\5I", 6);
}

Reception::Progress Reception::broken(const std::string& what) {
  fault_ = (guest_ != nullptr ? guest_->text() : "a server") + ": " + what;
  return Progress::kGone;
}

Reception::Progress Reception::step(std::deque<Conversation>& all, unsigned& resets) {
  return guest_ == nullptr ? listen(all, resets) : answer();
}

Reception::Progress Reception::listen(std::deque<Conversation>& all, unsigned& resets) {
  for (;;) {
    const std::size_t wanted =
        heard_.size() < kStartupHeaderBytes ? kStartupHeaderBytes : read_be32(heard_, 0);
    if (wanted > kMaxStartupBytes) return broken("no message of a client");
    std::array<char, kMaxStartupBytes> bytes;
    const ssize_t count = ::recv(fd(), bytes.data(), wanted - heard_.size(), MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) return Progress::kWaiting;
    if (count <= 0) return Progress::kGone;
    heard_.append(bytes.data(), static_cast<std::size_t>(count));
    if (heard_.size() < kStartupHeaderBytes) continue;
    if (heard_ == kSslRequest || heard_ == kGssRequest) {
      if (resets > 0) {
        --resets;
        reset_connection(socket_);
        return Progress::kGone;
      }
      requests_ += heard_ == kGssRequest ? 'G' : 'S';
      heard_.clear();
      if (!send_all(fd(), "N")) return Progress::kGone;
      continue;
    }
    if (heard_.size() == read_be32(heard_, 0)) return recognise(all);
  }
}

// The startup message is there.
Reception::Progress Reception::recognise(std::deque<Conversation>& all) {
  const std::uint32_t id = heard_.size() < 12 ? 0 : read_be32(heard_, 8);
  if (id == 0 || id > all.size()) return broken("a client nobody knows: " + std::to_string(id));
  guest_ = &all[id - 1];
  const Introduction& said = guest_->introduction();
  if (heard_ != messages_of(id, said).back()) return broken("another startup message");
  if (!said.requests.ends_with(requests_)) return broken("asked for " + requests_);
  manner_ = guest_->reach_server(place_);
  const std::string refusal = fatal_error_response("57P03", kRefusal, {});
  const std::string hello = welcome(id, guest_->servers());
  if (manner_ == Manner::kWelcome) {
    pieces_ = in_pieces(hello, {4, 9, 20});
    guest_->let_in();
  } else if (manner_ == Manner::kRefuse) {
    pieces_ = {refusal};
  } else if (manner_ == Manner::kRefuseLate) {
    pieces_ = in_pieces(hello.substr(0, 9) + refusal, {5, 9, 12, 30});
  }
  next_piece_ns_ = monotonic_ns() + kPieceNs;
  return Progress::kWaiting;
}

// Whether the client has lost its session by it, or is with another server, it knows itself.
Reception::Progress Reception::left(const char* how) {
  return manner_ == Manner::kWelcome && !guest_->forgiving() ? broken(how) : Progress::kGone;
}

// Nobody says a word to it after the startup message, until it has answered.
Reception::Progress Reception::answer() {
  char byte = 0;
  const ssize_t count = ::recv(fd(), &byte, 1, MSG_DONTWAIT);
  if (count > 0) return broken("more than a startup message");
  if (count == 0 || errno != EAGAIN) return left("left while it let the client in");
  if (manner_ == Manner::kSilent || monotonic_ns() < next_piece_ns_) return Progress::kWaiting;
  if (pieces_.empty()) return part();
  if (!send_all(fd(), pieces_.front())) return left("cannot let the client in");
  pieces_.pop_front();
  next_piece_ns_ = monotonic_ns() + kPieceNs;
  return pieces_.empty() ? part() : Progress::kWaiting;
}

Reception::Progress Reception::part() {
  if (manner_ == Manner::kWelcome) return Progress::kLetIn;
  if (manner_ == Manner::kReset) reset_connection(socket_);
  return Progress::kGone;
}

}  // namespace pg_gateway::test
