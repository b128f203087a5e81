// SPDX-License-Identifier: MIT
// Many connections, each sending and checking a stream of its own, in random chunks,
// both ways at the same time. One thread drives one side of all of them.
//
// Nothing here asserts: the tests look at what came of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fd.h"

namespace pg_gateway::test {

// A stream is a part of one long pattern, from a place that depends on the seed.
class Streams {
 public:
  Streams();
  std::string_view chunk(std::uint32_t seed, std::size_t at, std::size_t most) const;

 private:
  std::string pattern_;
};

class Endpoint {
 public:
  // A client knows who it is and says so in its first four bytes.
  static Endpoint client(UniqueFd socket, std::uint32_t id, std::size_t to_send);
  // A backend learns it from them.
  static Endpoint backend(UniqueFd socket, std::size_t to_send);

  int fd() const { return socket_.get(); }
  short wanted_events() const;
  // Sends or receives something; false: there is nothing to do at the moment.
  void step(const Streams& streams, short events);
  bool done() const { return finished_sending_ && ended_; }
  bool failed() const { return failed_; }
  std::uint64_t sent() const { return sent_; }
  std::uint64_t received() const { return received_; }

 private:
  static constexpr std::size_t kIdBytes = 4;
  void send_some(const Streams& streams);
  void receive_some(const Streams& streams);
  std::size_t random(std::size_t most);

  UniqueFd socket_;
  bool is_client_ = false;
  std::uint32_t id_ = 0;
  std::size_t to_send_ = 0;
  std::uint32_t random_state_ = 1;
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
  std::string id_bytes_;  // received so far
  bool finished_sending_ = false;
  bool ended_ = false;
  bool failed_ = false;
};

// Drives them until all are done; false if one failed or the patience was over.
bool run_traffic(std::vector<Endpoint>& endpoints, int patience_ms);

}  // namespace pg_gateway::test
