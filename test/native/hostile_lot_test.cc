// SPDX-License-Identifier: MIT
// Things in the file descriptor store that this program has never put there. The sessions
// beside them go on, in the next engine and in the one after it.
//
//   PG_GATEWAY_FUZZ_SEED=n   the cases of that seed
//   PG_GATEWAY_FUZZ_CASES=n  so many
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine.h"
#include "forked.h"
#include "kept_sessions.h"

using namespace pg_gateway;
using test::KeptSessions;
using test::Shelf;

namespace {

using Random = std::mt19937_64;

constexpr std::uint64_t kCases = 500;
constexpr std::uint64_t kInABatch = 50;

std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? std::stoull(value) : otherwise;
}

// Every kind of descriptor that a session or a pipe is not made of, and some that it is.
std::vector<UniqueFd> strange_fds() {
  std::vector<UniqueFd> fds;
  const auto add_pair = [&](test::Pair pair) {
    fds.push_back(std::move(pair.a));
    fds.push_back(std::move(pair.b));
  };
  fds.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
  fds.emplace_back(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  fds.emplace_back(::epoll_create1(EPOLL_CLOEXEC));
  fds.emplace_back(::memfd_create("x", MFD_CLOEXEC));
  fds.push_back(test::listen_tcp());
  fds.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  fds.emplace_back(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  fds.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  add_pair(test::unix_pair());
  add_pair(test::tcp_pair());
  for (int i = 0; i < 2; ++i) {
    std::array<int, 2> ends{-1, -1};
    ::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC);
    fds.emplace_back(ends[0]);
    fds.emplace_back(ends[1]);
  }
  test::Pair blocking = test::tcp_pair();
  ::fcntl(blocking.b.get(), F_SETFL, 0);
  add_pair(std::move(blocking));
  return fds;
}

// Past the core: its own parking would not send such a thing.
void send_message(int socket, const void* bytes, std::size_t count, const std::vector<int>& fds) {
  iovec data{const_cast<void*>(bytes), count};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  std::vector<char> control(CMSG_SPACE(sizeof(int) * fds.size()));
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  }
  ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

template <typename Number>
Number some(Random& random) {
  switch (random() % 4) {
    case 0:
      return static_cast<Number>(random() % 12);  // one that is in use, perhaps
    case 1:
      return static_cast<Number>(~Number{0} - static_cast<Number>(random() % 2));
    case 2:
      return static_cast<Number>(Number{1} << random() % (8 * sizeof(Number) - 1));
    default:
      return static_cast<Number>(random());
  }
}

void park_something_strange(const Shelf& shelf, Random& random, const std::vector<UniqueFd>& fds) {
  ParkedMessage message;
  message.kind = static_cast<ParkedKind>(random() % 4);
  if (random() % 8 == 0) message.version = some<std::uint32_t>(random);
  message.tcp_client = some<std::uint8_t>(random);
  message.server = some<std::uint16_t>(random);
  message.slot = some<std::uint32_t>(random);
  message.revision = some<std::uint32_t>(random);
  message.id = some<std::uint64_t>(random);
  message.opened_ns = static_cast<std::int64_t>(some<std::uint64_t>(random));
  message.epoch = some<std::uint32_t>(random);
  std::array<ParkedMessage, 4> bytes = {message, message, message, message};
  constexpr std::array<std::size_t, 8> kSizes = {40, 40, 40, 1, 39, 41, 80, 160};
  std::vector<int> passed;
  const std::size_t count = random() % 8 == 0 ? random() % 200 : random() % 4;
  for (std::size_t i = 0; i < count; ++i) passed.push_back(fds[random() % fds.size()].get());
  send_message(shelf.kept().at("lot-0-in").get(), bytes.data(), kSizes[random() % 8], passed);
}

std::string take_up(Shelf& shelf, KeptSessions& sessions, bool (&survived)[KeptSessions::kKinds]) {
  Engine engine([](void*) {}, nullptr);
  if (engine.start({1, {}, true, shelf.store(), shelf.copies()})) return "not started";
  std::string problem = sessions.go_on(survived);
  engine.stop(0, true);
  return problem;
}

// Whether the sessions of an engine go on in the next and the one after that.
std::string all_go_on(Shelf& shelf, KeptSessions& sessions) {
  for (int round = 0; round < 3; ++round) {
    // With the first one what is behind it in the queue comes to the front.
    if (round == 1) sessions.hang_up(KeptSessions::Kind::kIdle);
    bool survived[KeptSessions::kKinds] = {};
    std::string problem = take_up(shelf, sessions, survived);
    if (!problem.empty()) return problem;
    for (std::size_t i = round > 0 ? 1 : 0; i < KeptSessions::kKinds; ++i) {
      if (!survived[i]) {
        return "session " + std::to_string(i) + " ended in round " + std::to_string(round);
      }
    }
  }
  return "";
}

}  // namespace

TEST_CASE("strange messages in the parking lot: no crash, no wrong byte") {
  const std::uint64_t seed = number("PG_GATEWAY_FUZZ_SEED", std::random_device()());
  INFO("PG_GATEWAY_FUZZ_SEED=" << seed);
  const std::string problem =
      test::run_forked(seed, number("PG_GATEWAY_FUZZ_CASES", kCases), kInABatch,
                       [](std::uint64_t of) -> std::string {
                         Random random(of);
                         const std::vector<UniqueFd> fds = strange_fds();
                         Shelf shelf;
                         const auto park_some = [&] {
                           for (auto left = random() % 4; left > 0; --left) {
                             park_something_strange(shelf, random, fds);
                           }
                         };
                         KeptSessions sessions(shelf, park_some);
                         park_some();
                         for (int round = 0; round < 3; ++round) {
                           bool survived[KeptSessions::kKinds] = {};
                           std::string failed = take_up(shelf, sessions, survived);
                           if (!failed.empty()) return failed;
                         }
                         return "";
                       });
  CHECK(problem == "");
}

TEST_CASE("messages that are not ours leave the queue and take no session with them") {
  const UniqueFd file(::open("/dev/null", O_RDWR | O_CLOEXEC));
  std::array<char, 400> bytes{};
  ParkedMessage message;
  std::size_t count = sizeof message;
  std::size_t fds = 1;
  SUBCASE("shorter") {
    count = 1;
  }
  SUBCASE("longer, with what looks like one in its midst") {
    count = bytes.size();
    std::memcpy(bytes.data() + sizeof message, &message, sizeof message);
  }
  SUBCASE("empty") {
    count = 0;
  }
  SUBCASE("of another version") {
    ++message.version;
  }
  SUBCASE("without descriptors") {
    fds = 0;
  }
  SUBCASE("with more than there may be") {
    fds = 100;
  }
  std::memcpy(bytes.data(), &message, sizeof message);
  Shelf shelf;
  KeptSessions sessions(shelf, [&] {
    send_message(shelf.kept().at("lot-0-in").get(), bytes.data(), count,
                 std::vector<int>(fds, file.get()));
  });
  CHECK(all_go_on(shelf, sessions) == "");
}

TEST_CASE("a server that cannot be is no place to go on with") {
  Shelf shelf;
  SessionStore store(shelf.store());
  std::vector<Survivor> survivors;
  RecoveryReport report;
  REQUIRE_FALSE(store.open({}, survivors, report));
  store.write_note("note");
  test::Pair client = test::tcp_pair();
  test::Pair server = test::tcp_pair();
  Kept kept;
  store.admit(kept, client.b.get(), true, {server.a.get(), 1, kMaxServers});
  store.freeze();
  client.b.reset();
  server.a.reset();
  Engine engine([](void*) {}, nullptr);
  REQUIRE_FALSE(engine.start({1, {}, true, shelf.store(), shelf.copies()}));
  CHECK(engine.recovery().recovered == 0);
  CHECK(test::receive_to_end(client.a.get()).end == test::StreamEnd::kFin);
  CHECK(test::receive_to_end(server.b.get()).end == test::StreamEnd::kFin);
}

TEST_CASE("names that nobody gave") {
  StoredFds stored;
  for (const char* name : {"", "lot", "lot-", "lot--in", "lot-1", "lot-1-", "lot-1-inn", "lot-x-in",
                           "lot--1-in", "lot-+1-in", "lot- 1-in", "lot-1x-in", "lot-16777216-in",
                           "lot-99999999999999999999-out", "ledger2", "Ledger", "stored"}) {
    UniqueFd fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
    CAPTURE(name);
    CHECK_FALSE(stored.take(name, fd));
    CHECK(fd.valid());
  }
  CHECK(stored.segments.empty());
  CHECK_FALSE(stored.ledger.valid());
}

TEST_CASE("segments that are none, or half of one, do not keep the others from being read") {
  Shelf shelf;
  KeptSessions sessions(shelf);
  const auto put = [&](const std::string& name, const UniqueFd& fd) {
    REQUIRE_FALSE(shelf.store()->keep(name, fd.get()));
  };
  test::Pair stream = test::unix_pair();
  std::array<int, 2> ends{-1, -1};
  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) ==
          0);
  UniqueFd in(ends[0]);
  UniqueFd out(ends[1]);
  SUBCASE("other kinds") {
    put("lot-1-in", stream.a);
    put("lot-1-out", stream.b);
    put("lot-2-in", UniqueFd(::open("/dev/null", O_RDWR)));
    put("lot-2-out", UniqueFd(::memfd_create("x", 0)));
  }
  SUBCASE("one end only") {
    put("lot-1-in", in);
    put("lot-2-out", out);
  }
  SUBCASE("the other end is gone") {
    put("lot-1-in", in);
    put("lot-1-out", in);
    out.reset();
  }
  SUBCASE("shut") {
    ::shutdown(in.get(), SHUT_WR);
    put("lot-1-in", in);
    put("lot-1-out", out);
  }
  SUBCASE("the highest number there is") {
    put("lot-16777214-in", in);
    put("lot-16777214-out", out);
  }
  CHECK(all_go_on(shelf, sessions) == "");
}
