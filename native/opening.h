// SPDX-License-Identifier: MIT
// The first exchange of a session: the client's startup message goes to the server as a
// copy, and stays in the client's queue until the server has answered it. A server that
// is going down, or not up yet, may accept a connection and then close it or answer
// "cannot connect now"; the client has lost nothing by it and can be given another server.
// SSLRequest and GSSENCRequest that the server declines are passed on in the same way;
// once it accepts one, what follows cannot be understood, and is relayed.
//
// Owns nothing; borrows both sockets. Thread: the worker's. Source: PostgreSQL manual,
// "Frontend/Backend Protocol", "Message Flow", "Start-up".
#pragma once

#include <cstdint>

namespace pg_gateway {

enum class OpeningProgress : std::uint8_t {
  kWaiting,   // for more bytes of either side
  kDeclined,  // the server's next byte declines encryption: relay it to the client, then go on
  kOver,      // relay from here on
  kBroken,    // what the server has could not be taken out of the client's queue: it must end
  kRefused,   // the server cannot serve it now; the client's queue is as it was
};

struct Opening {
  // Bytes at the head of the client's queue that the server has as a copy.
  std::uint32_t ahead = 0;
  // Bytes that the server has for good, taken out of the client's queue; for who counts them.
  std::uint32_t passed_on = 0;
  // The backend's events so far, for the relay.
  std::uint32_t backend_events = 0;
  bool client_ended = false;
  bool backend_ended = false;

  // Moves no byte out of either queue but the client's, once they have been answered.
  [[nodiscard]] OpeningProgress advance(int client, int backend);

 private:
  OpeningProgress pass_on(int client, int backend);
  OpeningProgress read_answer(int client, int backend);
  OpeningProgress take_out_ahead(int client);
};

// What a client's queue begins with.
enum class FirstWords : std::uint8_t {
  kNone,        // nothing, and no more will come: it has hung up, by a reset too
  kIncomplete,  // nothing yet, or the beginning of a message
  kWhole,       // a message that begins a session, or what is the server's to understand (TLS)
  kForeign,     // a length that PostgreSQL refuses without an answer
};
FirstWords first_words(int client);
// Whether the first `bytes` of the client's queue are a whole message.
bool is_whole_message(int client, std::uint32_t bytes);
// Whether the server has said that there is no encryption, and nothing else.
bool declines_encryption(int backend);
// Takes `bytes` out of a socket's queue. False if they were not all there.
bool discard_bytes(int socket, std::uint32_t bytes);

}  // namespace pg_gateway
