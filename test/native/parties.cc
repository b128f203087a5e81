// SPDX-License-Identifier: MIT
#include "parties.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace pg_gateway::test {

void Parties::fail(const std::string& what) {
  if (fault_.empty()) fault_ = what;
}

Conversation& Parties::add(UniqueFd client) {
  Conversation& added = conversations_.emplace_back(
      static_cast<std::uint32_t>(conversations_.size() + 1), std::move(client));
  if (forgiving_) added.forgive();
  return added;
}

Conversation& Parties::add(UniqueFd client, Introduction introduction) {
  Conversation& added =
      conversations_.emplace_back(static_cast<std::uint32_t>(conversations_.size() + 1),
                                  std::move(client), std::move(introduction));
  if (forgiving_) added.forgive();
  return added;
}

// Servers that are told by a startup message who their client is.
void Parties::receive_guests() {
  std::erase_if(receptions_, [&](Reception& reception) {
    const Reception::Progress progress = reception.step(conversations_, resets_);
    if (!reception.fault().empty()) fail(reception.fault());
    if (progress == Reception::Progress::kLetIn &&
        !reception.guest().set_server(reception.take_socket())) {
      fail("two servers for " + reception.guest().text());
    }
    return progress != Reception::Progress::kWaiting;
  });
}

void Parties::listen_to_strangers() {
  std::erase_if(strangers_, [&](Stranger& stranger) {
    const std::size_t wanted = Conversation::kIdBytes - stranger.id.size();
    std::array<char, Conversation::kIdBytes> bytes{};
    const ssize_t count = ::recv(stranger.server.get(), bytes.data(), wanted, MSG_DONTWAIT);
    if (count == 0) return true;  // its client had gone before it said who it is
    if (count < 0) return errno != EAGAIN;
    stranger.id.append(bytes.data(), static_cast<std::size_t>(count));
    if (stranger.id.size() < Conversation::kIdBytes) return false;
    const std::uint32_t id = Conversation::read_id(stranger.id);
    if (id == 0 || id > conversations_.size()) {
      fail("a client nobody knows: " + std::to_string(id));
    } else if (!conversations_[id - 1].set_server(std::move(stranger.server))) {
      fail("two servers for " + conversations_[id - 1].text());
    }
    return true;
  });
}

void Parties::meet_servers() {
  for (;;) {
    UniqueFd server(::accept4(servers_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!server.valid()) break;
    if (introduced_) {
      receptions_.emplace_back(std::move(server), connections_++);
    } else {
      strangers_.push_back({std::move(server), {}});
    }
  }
  receive_guests();
  listen_to_strangers();
}

void Parties::turn(std::vector<pollfd>& others, int timeout_ms) {
  const std::size_t first_of_ours = others.size();
  std::vector<pollfd>& waiting = others;
  waiting.push_back({servers_.get(), POLLIN, 0});
  for (const Stranger& stranger : strangers_) waiting.push_back({stranger.server.get(), POLLIN, 0});
  for (const Reception& reception : receptions_) waiting.push_back({reception.fd(), POLLIN, 0});
  const std::size_t first = waiting.size();
  std::vector<Conversation*> talking;
  for (Conversation& each : conversations_) {
    if (each.over()) continue;
    talking.push_back(&each);
    waiting.push_back(each.client_wants());
    waiting.push_back(each.server_wants());
  }
  ::poll(waiting.data(), waiting.size(), timeout_ms);
  for (std::size_t i = 0; i < talking.size(); ++i) {
    const short client = waiting[first + 2 * i].revents;
    const short server = waiting[first + 2 * i + 1].revents;
    if (client != 0) talking[i]->client_step(streams_, client);
    if (server != 0) talking[i]->server_step(streams_, server);
  }
  waiting.resize(first_of_ours);
  meet_servers();
  for (const Conversation& each : conversations_) {
    if (!each.fault().empty()) return fail(each.fault());
  }
}

std::size_t Parties::lost() const {
  return static_cast<std::size_t>(std::count_if(conversations_.begin(), conversations_.end(),
                                                [](const auto& each) { return each.lost(); }));
}

std::size_t Parties::turned_down() const {
  return static_cast<std::size_t>(
      std::count_if(conversations_.begin(), conversations_.end(),
                    [](const auto& each) { return each.turned_down(); }));
}

std::uint64_t Parties::progress() const {
  std::uint64_t sum = 0;
  for (const Conversation& each : conversations_) sum += each.progress();
  return sum;
}

std::string Parties::text() const {
  std::string text;
  for (const Conversation& each : conversations_) {
    if (!each.over() || each.lost()) text += "\n  " + each.text();
  }
  return text;
}

}  // namespace pg_gateway::test
