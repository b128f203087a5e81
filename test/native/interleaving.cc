// SPDX-License-Identifier: MIT
#include "interleaving.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "pg_wire.h"
#include "support.h"

namespace pg_gateway::test {

namespace {

// What a side takes at once when its script is over.
constexpr std::uint32_t kRest = 64 * 1024;
constexpr std::size_t kWelcomeBytes = 28;

void append_be32(std::string& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(value >> shift & 0xff));
  }
}

// AuthenticationOk, BackendKeyData with who and which server, ReadyForQuery.
std::string welcome(std::uint32_t id, std::uint32_t attempt) {
  std::string answer{"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c", 14};
  append_be32(answer, id);
  append_be32(answer, attempt);
  return answer + std::string("Z\0\0\0\5I", 6);
}

std::uint32_t attempt_of(std::string_view answer) {
  std::uint32_t attempt = 0;
  for (std::size_t i = 18; i < 22; ++i)
    attempt = attempt << 8 | static_cast<unsigned char>(answer[i]);
  return attempt;
}

std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' '; }, '|');
  return text;
}

std::string request(char kind) {
  return std::string{"\0\0\0\x08\x04\xd2\x16", 7} + (kind == 'G' ? '\x30' : '\x2f');
}

}  // namespace

Interleaving::Interleaving(std::uint32_t id, std::uint64_t seed, UniqueFd client, bool unix_client,
                           bool may_be_refused, std::uint64_t turn)
    : id_(id),
      dice_(seed),
      unix_client_(unix_client),
      may_be_refused_(may_be_refused),
      patient_(!dice_.one_in(4)),
      begun_(turn) {
  client_.socket = std::move(client);
  if (dice_.one_in(3)) set_small_buffers(client_.socket.get());
  // Each kind once at most, as PostgreSQL allows.
  const std::uint32_t kinds = dice_.upto(6);
  if (kinds == 0 || kinds == 1) requests_.push_back(request('G'));
  if (kinds == 0 || kinds == 2) requests_.push_back(request('S'));
  const std::uint32_t bytes = 12 + (dice_.one_in(20) ? dice_.upto(9000) : dice_.upto(200));
  startup_ = startup(id_, bytes);
  client_.write_script(dice_, true);
}

std::string Interleaving::startup(std::uint32_t id, std::size_t bytes) {
  std::string message;
  append_be32(message, static_cast<std::uint32_t>(bytes));
  append_be32(message, 3U << 16);
  append_be32(message, id);
  return message + pattern_bytes(bytes - message.size(), id);
}

void Interleaving::reach(ServerEnd& server) {
  server.session = this;
  servers_.push_back(&server);
  server.attempt = static_cast<std::uint32_t>(servers_.size());
  if (may_be_refused_ && servers_.size() == 1) {
    server.manner = static_cast<ServerEnd::Manner>(dice_.upto(4));
  }
  switch (server.manner) {
    case ServerEnd::Manner::kWelcome:
      server.to_say = welcome(id_, server.attempt);
      server.end.write_script(dice_, true);
      break;
    case ServerEnd::Manner::kRefuse:
      server.to_say = fatal_error_response("57P03", "the database system is starting up", {});
      server.end.script = {{End::Act::kWrite, 2000}, {End::Act::kFin, 0}};
      break;
    case ServerEnd::Manner::kReset:
      server.end.script = {{End::Act::kReset, 0}};
      break;
    case ServerEnd::Manner::kHangUp:
      server.end.script = {{End::Act::kFin, 0}};
      break;
  }
}

bool Interleaving::client_turn(const Streams& streams, const Told& told) {
  return !client_.over() && act(client_, nullptr, streams, told);
}

bool Interleaving::server_turn(ServerEnd& server, const Streams& streams, const Told& told) {
  return !server.end.over() && act(server.end, &server, streams, told);
}

bool Interleaving::act(End& end, ServerEnd* server, const Streams& streams, const Told& told) {
  const auto read = [&](std::uint32_t most) {
    if (end.ended) return false;
    return server == nullptr ? client_receives(most, streams, told)
                             : server_receives(*server, most, streams, told);
  };
  const auto write = [&](std::uint32_t most) {
    if (end.deaf || end.fin_sent) return false;
    if (server == nullptr) return client_sends(most, streams);
    return send_some(end, server->to_say, most, streams, down_stream(server->attempt));
  };
  if (end.stalled > 0) {
    --end.stalled;
    return false;
  }
  End::Step step{End::Act::kFin, 0};
  if (!end.script.empty()) {
    step = end.script.front();
    end.script.pop_front();
  } else if (read(kRest)) {
    return true;
  }
  switch (step.act) {
    case End::Act::kWrite:
      return write(step.amount);
    case End::Act::kRead:
      return read(step.amount);
    case End::Act::kStall:
      end.stalled = step.amount;
      return false;
    case End::Act::kReset:
      end.abort();
      return true;
    case End::Act::kFin:
      break;
  }
  if (end.fin_sent || end.deaf) return false;
  // What comes before the stream has to be said first.
  const bool has_more = server == nullptr ? !said_startup_ || !to_say_.empty() || waiting_ ||
                                                (patient_ && answer_.size() < kWelcomeBytes)
                                          : !server->to_say.empty();
  if (has_more && !end.ended) {
    if (!end.script.empty()) return false;
    return write(kRest);
  }
  send_fin(end.socket.get());
  end.fin_sent = true;
  if (server == nullptr && answer_.size() < kWelcomeBytes) left_early_ = true;
  return true;
}

bool Interleaving::send_some(End& end, std::string& before, std::uint32_t most,
                             const Streams& streams, std::uint32_t stream) {
  const bool is_stream = before.empty();
  // When the script is over nothing new is said.
  if (is_stream && most == kRest) return false;
  const std::string_view chunk =
      is_stream ? streams.chunk(stream, end.sent, most) : std::string_view(before).substr(0, most);
  const ssize_t count =
      ::send(end.socket.get(), chunk.data(), chunk.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (count < 0) {
    end.deaf = end.deaf || errno != EAGAIN;
    return end.deaf;
  }
  if (is_stream) {
    end.sent += static_cast<std::uint64_t>(count);
  } else {
    before.erase(0, static_cast<std::size_t>(count));
  }
  return true;
}

bool Interleaving::client_sends(std::uint32_t most, const Streams& streams) {
  if (to_say_.empty() && !said_startup_) {
    if (waiting_) return false;
    if (requests_.empty()) {
      to_say_ = startup_;
      said_startup_ = true;
    } else {
      to_say_ = requests_.front();
      requests_.pop_front();
      waiting_ = true;
    }
  }
  if (to_say_.empty() && (waiting_ || (patient_ && answer_.size() < kWelcomeBytes))) return false;
  return send_some(client_, to_say_, most, streams, up_stream());
}

bool Interleaving::client_receives(std::uint32_t most, const Streams& streams, const Told& told) {
  std::array<char, kRest> buffer;
  const ssize_t count = ::recv(client_.socket.get(), buffer.data(),
                               std::min<std::size_t>(most, buffer.size()), MSG_DONTWAIT);
  if (count < 0 && errno == EAGAIN) return false;
  if (count <= 0) {
    client_ended(told, count < 0);
    return true;
  }
  client_hears({buffer.data(), static_cast<std::size_t>(count)}, streams, told);
  return true;
}

void Interleaving::client_hears(std::string_view bytes, const Streams& streams, const Told& told) {
  if (waiting_ && answer_.empty() && bytes[0] == 'N') {
    if (!to_say_.empty()) return wrong("an answer to half a request");
    waiting_ = false;
    bytes.remove_prefix(1);
  }
  if (bytes.empty()) return;
  if (served_by_ == nullptr) hear_answer(bytes, told);
  if (bytes.empty() || served_by_ == nullptr) return;
  if (!check(streams, down_stream(served_by_->attempt), client_.received, served_by_->end.sent,
             bytes)) {
    wrong("the client got a wrong byte");
  }
}

void Interleaving::hear_answer(std::string_view& bytes, const Told& told) {
  if (answer_.empty()) {
    if (waiting_ || !said_startup_ || !to_say_.empty()) return wrong("an answer to nothing");
    refused_ = bytes[0] == 'E';
  }
  const std::size_t most = refused_ ? bytes.size() : kWelcomeBytes - answer_.size();
  answer_ += bytes.substr(0, most);
  bytes.remove_prefix(std::min(bytes.size(), most));
  const bool passed_on = unix_client_ || !told.holds;
  const bool turned_away = !told.holds && told.routeless_at >= begun_;
  if (refused_ && !turned_away && !(passed_on && may_be_refused_)) {
    return wrong("refused without a reason");
  }
  if (refused_ || answer_.size() < kWelcomeBytes) return;
  const std::uint32_t attempt = attempt_of(answer_);
  if (attempt == 0 || attempt > servers_.size() || answer_ != welcome(id_, attempt)) {
    return wrong("a welcome that no server has said");
  }
  served_by_ = servers_[attempt - 1];
}

void Interleaving::client_ended(const Told& told, bool by_reset) {
  client_.ended = true;
  client_.deaf = client_.deaf || by_reset;
  if (refused_) {
    client_.deaf = true;
    return;
  }
  if (served_by_ == nullptr) {
    // It left before it had a server, or what it had of one is gone with it.
    const bool server_gone = std::any_of(servers_.begin(), servers_.end(), [&](const auto* server) {
      return server->end.aborted || told.has_cut(server->epoch) ||
             (server->manner != ServerEnd::Manner::kWelcome && (unix_client_ || !told.holds));
    });
    // Where bytes go on at once, one that is cut may not have reached its server.
    const bool cut = (unix_client_ || !told.holds) && told.cut_at >= begun_;
    // Nor does one that is being turned away outlive the engine.
    const bool turned_away =
        !told.holds && told.routeless_at >= begun_ && told.replaced_at >= begun_;
    if (!left_early_ && !server_gone && !cut && !turned_away)
      wrong("the client was ended before it was let in");
    client_.deaf = true;
    return;
  }
  const End& server = served_by_->end;
  const bool whole = server.fin_sent && client_.received == server.sent && !by_reset;
  if (whole || server.aborted || told.has_cut(served_by_->epoch)) return;
  // The end of one direction may be a reset in the other only if somebody broke off.
  wrong(by_reset ? "the client was reset" : "the client was ended early");
}

bool Interleaving::server_receives(ServerEnd& server, std::uint32_t most, const Streams& streams,
                                   const Told& told) {
  std::array<char, kRest> buffer;
  const ssize_t count = ::recv(server.end.socket.get(), buffer.data(),
                               std::min<std::size_t>(most, buffer.size()), MSG_DONTWAIT);
  if (count < 0 && errno == EAGAIN) return false;
  if (count <= 0) {
    server_ended(server, told, count < 0);
    return true;
  }
  const std::uint64_t before = server.end.received;
  if (!check(streams, up_stream(), server.end.received, client_.sent,
             {buffer.data(), static_cast<std::size_t>(count)})) {
    wrong("a server got a wrong byte");
  }
  up_received_ += server.end.received - before;
  for (const ServerEnd* other : servers_) {
    if (other != &server && other->end.received > 0) wrong("two servers have the client's bytes");
  }
  if (served_by_ != nullptr && served_by_ != &server) wrong("another server got bytes");
  return true;
}

void Interleaving::server_ended(ServerEnd& server, const Told& told, bool by_reset) {
  server.end.ended = true;
  server.end.deaf = server.end.deaf || by_reset;
  const bool whole = client_.fin_sent && server.end.received == client_.sent && !by_reset;
  const bool given_up = server.manner != ServerEnd::Manner::kWelcome;
  if (whole || given_up || client_.aborted || told.has_cut(server.epoch)) return;
  if (left_early_ && served_by_ == nullptr) return;
  wrong(by_reset ? "a server was reset" : "a server was ended early");
}

bool Interleaving::check(const Streams& streams, std::uint32_t stream, std::uint64_t& received,
                         std::uint64_t sent, std::string_view bytes) {
  while (!bytes.empty()) {
    const std::string_view expected = streams.chunk(stream, received, bytes.size());
    if (received + expected.size() > sent || bytes.substr(0, expected.size()) != expected) {
      return false;
    }
    received += expected.size();
    bytes.remove_prefix(expected.size());
  }
  return true;
}

void Interleaving::wrong(const std::string& what) {
  if (fault_.empty()) fault_ = text() + ": " + what;
}

std::string Interleaving::text() const {
  const auto end = [](const End& of) {
    return std::to_string(of.sent) + " sent, " + std::to_string(of.received) + " received" +
           (of.fin_sent ? ", fin sent" : "") + (of.ended ? ", ended" : "") +
           (of.aborted ? ", reset" : "") + (of.deaf ? ", deaf" : "") +
           (of.script.empty() ? "" : ", " + std::to_string(of.script.size()) + " steps left");
  };
  std::string all = "session " + std::to_string(id_) + (unix_client_ ? " (AF_UNIX)" : "") +
                    ": client: " + end(client_) + ", answer of " + std::to_string(answer_.size()) +
                    (refused_ ? ", refused: " + printable(answer_) : "") +
                    (left_early_ ? ", left early" : "");
  for (const ServerEnd* server : servers_) {
    all += "; server " + std::to_string(server->attempt) + " of epoch " +
           std::to_string(server->epoch) + " manner " +
           std::to_string(static_cast<int>(server->manner)) + ": " + end(server->end);
  }
  return all;
}

}  // namespace pg_gateway::test
