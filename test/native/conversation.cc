// SPDX-License-Identifier: MIT
#include "conversation.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "support.h"

namespace pg_gateway::test {

namespace {

constexpr std::size_t kChunk = 64 * 1024;

std::uint32_t seed_of(std::uint32_t id, bool from_client) {
  return id * 2 + (from_client ? 1 : 0);
}

}  // namespace

std::uint32_t Conversation::read_id(const std::string& bytes) {
  std::uint32_t id = 0;
  std::memcpy(&id, bytes.data(), sizeof id);
  return id;
}

Conversation::Conversation(std::uint32_t id, UniqueFd client)
    : id_(id), client_(std::move(client)) {
  std::array<char, kIdBytes> bytes{};
  std::memcpy(bytes.data(), &id, sizeof id);
  if (!send_all(client_.get(), {bytes.data(), bytes.size()})) broken("id not sent");
}

Conversation::Conversation(std::uint32_t id, UniqueFd client, Introduction introduction)
    : id_(id), client_(std::move(client)), introduction_(std::move(introduction)) {
  const std::vector<std::string> all = messages_of(id_, introduction_);
  messages_.assign(all.begin(), all.end());
  if (!send_all(client_.get(), messages_.front())) broken("first message not sent");
}

Manner Conversation::reach_server(std::uint64_t place) {
  if (!first_place_.has_value()) first_place_ = place;
  const std::vector<Manner>& manners = introduction_.manners;
  const std::size_t server = servers_++;
  return server < manners.size() ? manners[server] : Manner::kWelcome;
}

void Conversation::let_in() {
  // The one before may have been given up before the client had heard of it.
  if (met_ && (!forgiving_ || welcome_begun_)) {
    fault_ = text() + ": let in twice";
    return;
  }
  met_ = true;
  welcome_ = welcome(id_, servers_);
}

// The client takes what it is owed: an answer to each request, then the welcome.
void Conversation::introduce() {
  while (!introduced()) {
    const bool asked = messages_.size() > 1;
    const std::string expected = asked ? "N" : welcome_.empty() ? "?" : welcome_;
    std::array<char, 64> buffer;
    const ssize_t count = ::recv(client_.get(), buffer.data(),
                                 std::min(buffer.size(), expected.size()), MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) {
      broken("ended before it was in");
      server_.reset();
      return client_.reset();
    }
    const std::string_view got(buffer.data(), static_cast<std::size_t>(count));
    if (forgiving_ && !welcome_begun_ && got.front() == 'E') {
      std::array<char, 256> rest;
      const ssize_t more = ::recv(client_.get(), rest.data(), rest.size(), MSG_DONTWAIT);
      if (more > 0) {
        turned_down_ =
            std::string_view(rest.data(), static_cast<std::size_t>(more)).find(kRefusal) !=
            std::string_view::npos;
      }
      broken("told that it cannot be served");
      server_.reset();
      return client_.reset();
    }
    if (!expected.starts_with(got) || (!asked && welcome_.empty())) {
      fault_ = text() + ": an answer that no server has given";
      return;
    }
    heard_ += got.size();
    if (!asked) {
      welcome_begun_ = true;
      welcome_.erase(0, got.size());
    }
    if (!asked && !welcome_.empty()) continue;
    messages_.pop_front();
    if (!messages_.empty() && !send_all(client_.get(), messages_.front())) {
      return broken("message not sent");
    }
  }
}

void Conversation::reset() {
  aborted_ = true;
  down_.ended = true;
  reset_connection(client_);
}

void Conversation::abort() {
  lost_ = true;
  reset_connection(client_);
  server_.reset();
}

pollfd Conversation::wants(const UniqueFd& socket, const Flow& out, const Flow& in) {
  int events = 0;
  if (out.sent < out.goal || (out.finish && !out.finished)) events |= POLLOUT;
  if (in.reading && !in.ended) events |= POLLIN;
  return {socket.valid() && events != 0 ? socket.get() : -1, static_cast<short>(events), 0};
}

void Conversation::step(const Streams& streams, UniqueFd& socket, Flow& out, Flow& in,
                        bool is_client, short events) {
  const bool trouble = (events & (POLLHUP | POLLERR)) != 0;
  if (in.reading && !in.ended && ((events & POLLIN) != 0 || trouble)) {
    receive_some(streams, socket, in, is_client);
  }
  if (socket.valid() && (events & POLLOUT) != 0) send_some(streams, socket, out, is_client);
  // Aborted: no more than that it ends is owed to the server.
  if (lost_ || (aborted_ && in.ended)) {
    client_.reset();
    server_.reset();
  }
}

void Conversation::send_some(const Streams& streams, const UniqueFd& socket, Flow& out,
                             bool is_client) {
  while (out.sent < out.goal) {
    const std::size_t most = std::min<std::uint64_t>(kChunk, out.goal - out.sent);
    const std::string_view chunk = streams.chunk(seed_of(id_, is_client), out.sent, most);
    const ssize_t count =
        ::send(socket.get(), chunk.data(), chunk.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EAGAIN) return;
    if (count < 0) return broken("cannot send");
    out.sent += static_cast<std::uint64_t>(count);
  }
  if (out.finish && !out.finished) {
    send_fin(socket.get());
    out.finished = true;
  }
}

void Conversation::receive_some(const Streams& streams, const UniqueFd& socket, Flow& in,
                                bool is_client) {
  std::array<char, kChunk> buffer;
  const ssize_t count = ::recv(socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count < 0 && errno == EAGAIN) return;
  if (aborted_ && count <= 0) {
    in.ended = true;
    return;
  }
  if (count < 0) return broken("reset");
  if (count == 0) {
    if (!in.finished || in.received != in.sent) return broken("ended early");
    in.ended = true;
    return;
  }
  std::string_view got(buffer.data(), static_cast<std::size_t>(count));
  while (!got.empty()) {
    const std::string_view expected =
        streams.chunk(seed_of(id_, !is_client), in.received, got.size());
    if (in.received + expected.size() > in.sent || got.substr(0, expected.size()) != expected) {
      fault_ = text() + ": a wrong byte";
      return;
    }
    in.received += expected.size();
    got.remove_prefix(expected.size());
  }
}

void Conversation::broken(const char* how) {
  lost_ = true;
  if (met_ && !forgiving_) fault_ = text() + ": " + how;
}

std::string Conversation::text() const {
  const auto flow = [](const char* name, const Flow& of) {
    return std::string(name) + std::to_string(of.received) + "/" + std::to_string(of.sent) + "/" +
           std::to_string(of.goal) + (of.finished ? "." : "") + (of.ended ? "." : "");
  };
  return "conversation " + std::to_string(id_) + flow(" up ", up_) + flow(" down ", down_) +
         (met_ ? "" : " without a server") + (lost_ ? ", lost" : "") +
         (introduced() ? "" : ", " + std::to_string(messages_.size()) + " messages to be answered");
}

}  // namespace pg_gateway::test
