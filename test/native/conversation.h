// SPDX-License-Identifier: MIT
// One session as its two ends see it: what each has sent, and that the other gets exactly
// that, whatever becomes of the gateway between them. Each direction of each session is a
// stream of its own, so that a byte that is lost, doubled or another's is noticed at once.
//
// Owns both sockets. Nothing here asserts.
#pragma once

#include <poll.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "fd.h"
#include "introduction.h"
#include "traffic.h"

namespace pg_gateway::test {

class Conversation {
 public:
  // One direction.
  struct Flow {
    std::uint64_t goal = 0;  // bytes to send
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    bool reading = true;    // the receiver takes what comes
    bool finish = false;    // the end of the stream follows the goal
    bool finished = false;  // it has been sent
    bool ended = false;     // it has been seen
    bool delivered() const { return received == goal && (!finish || ended); }
  };

  // The first bytes that the server gets say which conversation it is.
  static constexpr std::size_t kIdBytes = 4;
  static std::uint32_t read_id(const std::string& bytes);

  Conversation(std::uint32_t id, UniqueFd client);
  // One that begins as with PostgreSQL. The client says nothing else until it has been let in.
  Conversation(std::uint32_t id, UniqueFd client, Introduction introduction);
  // False: it has one.
  bool set_server(UniqueFd server) {
    if (has_server_) {
      if (forgiving_) abort();
      return forgiving_;
    }
    has_server_ = met_ = true;
    if (!lost_) server_ = std::move(server);
    return true;
  }
  std::uint32_t id() const { return id_; }
  // It may end before its time: then it is lost, and that is no fault. The gateway may tell the
  // client why. A byte that is wrong is one all the same.
  void forgive() { forgiving_ = true; }
  bool forgiving() const { return forgiving_; }
  // Both ends are gone, with a reset.
  void abort();

  const Introduction& introduction() const { return introduction_; }
  // Another server has got the startup message: what it does with it.
  Manner reach_server(std::uint64_t place);
  // It is the one that lets the client in.
  void let_in();
  // How many have got the startup message, and the place of the first of them among all
  // connections.
  std::uint32_t servers() const { return servers_; }
  std::optional<std::uint64_t> first_place() const { return first_place_; }
  // The client is in.
  bool introduced() const { return lost_ || messages_.empty(); }

  Flow& up() { return up_; }
  Flow& down() { return down_; }
  // So much more in both directions.
  void exchange(std::uint64_t bytes) {
    up_.goal += bytes;
    down_.goal += bytes;
  }
  // Both ends have nothing more to say.
  void finish() { up_.finish = down_.finish = true; }
  // The client is gone without a word.
  void reset();

  pollfd client_wants() const {
    if (!introduced()) return {client_.get(), POLLIN, 0};
    return wants(client_, up_, down_);
  }
  pollfd server_wants() const { return wants(server_, down_, up_); }
  void client_step(const Streams& streams, short events) {
    if (introduced()) return step(streams, client_, up_, down_, true, events);
    introduce();
  }
  void server_step(const Streams& streams, short events) {
    step(streams, server_, down_, up_, false, events);
  }

  bool delivered() const { return lost_ || (introduced() && up_.delivered() && down_.delivered()); }
  bool over() const { return lost_ || (up_.ended && down_.ended); }
  // It ended before its time, and not a byte of the server had come.
  bool lost() const { return lost_; }
  // Lost, for a server has told it so, in its own words.
  bool turned_down() const { return lost_ && turned_down_; }
  // Empty, or what may never happen.
  const std::string& fault() const { return fault_; }
  // Everything sent and received so far.
  std::uint64_t progress() const {
    return up_.sent + up_.received + down_.sent + down_.received + up_.ended + down_.ended +
           servers_ + heard_;
  }
  std::string text() const;

 private:
  static pollfd wants(const UniqueFd& socket, const Flow& out, const Flow& in);
  void step(const Streams& streams, UniqueFd& socket, Flow& out, Flow& in, bool is_client,
            short events);
  void send_some(const Streams& streams, const UniqueFd& socket, Flow& out, bool is_client);
  void receive_some(const Streams& streams, const UniqueFd& socket, Flow& in, bool is_client);
  void introduce();
  void broken(const char* how);

  std::uint32_t id_;
  UniqueFd client_;
  UniqueFd server_;
  Flow up_;
  Flow down_;
  bool has_server_ = false;
  bool met_ = false;  // a server knows of it, and it of no other
  bool lost_ = false;
  bool turned_down_ = false;
  bool aborted_ = false;
  bool forgiving_ = false;
  std::string fault_;

  Introduction introduction_;
  std::deque<std::string> messages_;  // the first has been said; empty: the client is in
  std::string welcome_;               // what it has yet to hear from the server that lets it in
  bool welcome_begun_ = false;
  std::uint64_t heard_ = 0;
  std::uint32_t servers_ = 0;
  std::optional<std::uint64_t> first_place_;
};

}  // namespace pg_gateway::test
