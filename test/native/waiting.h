// SPDX-License-Identifier: MIT
// Clients that say who they are, for the tests of who goes first.
//
// Nothing here asserts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gateway.h"
#include "support.h"

namespace pg_gateway::test {

// A StartupMessage that tells who it is from.
inline std::string startup_of(char who) {
  return std::string("\0\0\0\x10\0\3\0\0user\0", 13) + who + std::string(2, '\0');
}

inline char who_is(const UniqueFd& served) {
  const std::string startup = receive(served.get(), 16);
  return startup.size() == 16 ? startup[13] : '?';
}

// Clients that say who they are, from 'a' on, and are held in that order. None: it failed.
inline std::vector<UniqueFd> hold_clients(Gateway& gateway, int count) {
  std::vector<UniqueFd> clients;
  const std::uint64_t before = gateway.held();
  for (int i = 0; i < count; ++i) {
    clients.push_back(gateway.connect());
    if (!send_all(clients.back().get(), startup_of(static_cast<char>('a' + i)))) return {};
    const std::uint64_t wanted = before + static_cast<unsigned>(i) + 1;
    if (!eventually([&] { return gateway.held() == wanted; })) return {};
  }
  return clients;
}

}  // namespace pg_gateway::test
