// SPDX-License-Identifier: MIT
// One session's whole life by a random script: what its client and its servers do, in which order
// and in which pieces, and what each of them must see of the other. The script depends on nothing
// but its seed; how it is interleaved with the gateway's threads is chance.
//
// What must hold, byte for byte: a side gets what the other has said, from the first byte on, and
// nothing else; all of it, and then its end, if nobody broke off and nothing was cut. Who is not
// cut, and has a peer that lives, is not ended.
//
// Owns the client's socket and its servers' ends. One thread. Nothing here asserts.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "fd.h"
#include "session_ends.h"
#include "traffic.h"

namespace pg_gateway::test {

// What the gateway was told so far, as far as sessions may be excused by it.
struct Told {
  bool holds = true;               // clients wait while there is no route
  std::uint32_t cut_below = 0;     // sessions of an epoch below this are cut
  std::uint64_t cut_at = 0;        // the turn of the last cut
  std::uint64_t routeless_at = 0;  // the last turn without a route
  std::uint64_t replaced_at = 0;   // the turn of the last engine that began
  bool has_cut(std::uint32_t epoch) const { return epoch < cut_below; }
};

class Interleaving {
 public:
  // `unix_client`: of an AF_UNIX socket. `may_be_refused`: some of its servers may serve nobody.
  Interleaving(std::uint32_t id, std::uint64_t seed, UniqueFd client, bool unix_client,
               bool may_be_refused, std::uint64_t turn);

  std::uint32_t id() const { return id_; }
  // The startup message of that client, of so many bytes.
  static std::string startup(std::uint32_t id, std::size_t bytes);
  void reach(ServerEnd& server);

  // Each does one thing. True: something moved.
  bool client_turn(const Streams& streams, const Told& told);
  bool server_turn(ServerEnd& server, const Streams& streams, const Told& told);

  bool client_over() const { return client_.over(); }
  int client_socket() const { return client_.socket.get(); }
  void close_when_over() {
    if (client_.over()) client_.socket.reset();
  }
  bool reset() const { return client_.aborted; }
  bool welcomed() const { return served_by_ != nullptr; }
  std::uint64_t bytes() const { return client_.received + up_received_; }
  // Empty, or what may never happen.
  const std::string& fault() const { return fault_; }
  std::string text() const;

 private:
  bool act(End& end, ServerEnd* server, const Streams& streams, const Told& told);
  bool send_some(End& end, std::string& before, std::uint32_t most, const Streams& streams,
                 std::uint32_t stream);
  bool client_sends(std::uint32_t most, const Streams& streams);
  bool client_receives(std::uint32_t most, const Streams& streams, const Told& told);
  bool server_receives(ServerEnd& server, std::uint32_t most, const Streams& streams,
                       const Told& told);
  void client_hears(std::string_view bytes, const Streams& streams, const Told& told);
  void hear_answer(std::string_view& bytes, const Told& told);
  void client_ended(const Told& told, bool by_reset);
  void server_ended(ServerEnd& server, const Told& told, bool by_reset);
  bool check(const Streams& streams, std::uint32_t stream, std::uint64_t& received,
             std::uint64_t sent, std::string_view bytes);
  void wrong(const std::string& what);

  std::uint32_t up_stream() const { return id_ * 2 + 1; }
  std::uint32_t down_stream(std::uint32_t attempt) const { return id_ * 2 + attempt * 100'003; }

  std::uint32_t id_;
  Dice dice_;
  bool unix_client_;
  bool may_be_refused_;
  bool patient_;  // says nothing more before it has been let in
  std::uint64_t begun_;

  End client_;
  std::deque<std::string> requests_;  // for encryption, yet to be asked
  std::string startup_;
  std::string to_say_;         // of the message that it is sending
  bool waiting_ = false;       // for the answer to a request
  bool said_startup_ = false;  // it has begun to
  bool left_early_ = false;    // it had said its last word before it was let in
  std::string answer_;         // the welcome, or an error, so far
  bool refused_ = false;       // the answer is an error
  ServerEnd* served_by_ = nullptr;
  std::deque<ServerEnd*> servers_;
  std::uint64_t up_received_ = 0;
  std::string fault_;
};

}  // namespace pg_gateway::test
