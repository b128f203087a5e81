// SPDX-License-Identifier: MIT
#include "socket_address.h"

#include <doctest/doctest.h>
#include <netinet/in.h>

#include "support.h"

using namespace pg_gateway;  // NOLINT(google-build-using-namespace)

TEST_CASE("literals of both families are parsed, names are not") {
  CHECK(parse_address("127.0.0.1", 5432).value().family() == AF_INET);
  CHECK(parse_address("::1", 5432).value().family() == AF_INET6);
  CHECK(parse_address("fe80::1%lo", 5432).value().family() == AF_INET6);
  for (const char* bad : {"localhost", "", "[::1]", "::1%no-such-interface"}) {
    CHECK_FALSE(parse_address(bad, 5432).ok());
  }
}

TEST_CASE("a socket that is its own peer is recognised") {
  UniqueFd self(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  SocketAddress any = parse_address("127.0.0.1", 0).take();
  REQUIRE(::bind(self.get(), any.get(), any.length) == 0);
  const SocketAddress own = test::address_of(self.get());
  REQUIRE(::connect(self.get(), own.get(), own.length) == 0);
  CHECK(connected_to_itself(self.get()) == true);
}

TEST_CASE("an ordinary connection is not its own peer") {
  const UniqueFd listener = test::listen_tcp();
  const UniqueFd client = test::connect_to(test::address_of(listener.get()));
  REQUIRE(client.valid());
  CHECK(connected_to_itself(client.get()) == false);
  CHECK(connected_to_itself(listener.get()) == false);
  CHECK_FALSE(connected_to_itself(-1).has_value());
}
