// SPDX-License-Identifier: MIT
#include "session.h"

#include <doctest/doctest.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>
#include <utility>

#include "support.h"

namespace pg_gateway {

namespace {

using test::StreamEnd;
using State = SessionState;

// client ==front== [session] ==back== backend
struct Scene {
  explicit Scene(bool tcp = true) : front(tcp ? test::tcp_pair() : test::unix_pair()) {
    session.begin(std::move(front.b), tcp, {});
    session.transition(State::kConnecting);
    session.backend = std::move(back.a);
    session.transition(State::kRelaying);
  }
  int client() const { return front.a.get(); }
  int backend() const { return back.b.get(); }
  SessionProgress event(Side side, std::uint32_t events) {
    test::is_readable(side == Side::kClient ? session.client.get() : session.backend.get(), 1000);
    session.note_events(side, events);
    return session.relay(pool, counters);
  }

  test::Pair front;
  test::Pair back = test::tcp_pair();
  PipePool pool;
  WorkerCounters counters;
  Session session;
};

bool aborts(State from_path_end, State to) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);
    Session session;
    // The way to a state is short from kFree.
    switch (from_path_end) {
      case State::kFree:
        break;
      case State::kSilent:
      case State::kHeld:
      case State::kConnecting:
      case State::kRejecting:
        session.transition(from_path_end);
        break;
      case State::kStarting:
      case State::kRelaying:
      case State::kClosing:
        session.transition(State::kConnecting);
        session.transition(from_path_end);
        break;
    }
    session.transition(to);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

}  // namespace

TEST_CASE("the table of states, and nothing else") {
  const State all[] = {State::kFree,     State::kSilent,   State::kHeld,      State::kConnecting,
                       State::kStarting, State::kRelaying, State::kRejecting, State::kClosing};
  const auto in_the_table = [](State from, State to) {
    switch (from) {
      case State::kFree:
        return to == State::kSilent || to == State::kConnecting || to == State::kRejecting ||
               to == State::kHeld || to == State::kRelaying;
      case State::kSilent:
        return to == State::kConnecting || to == State::kHeld || to == State::kRejecting ||
               to == State::kClosing;
      case State::kHeld:
        return to == State::kSilent || to == State::kConnecting || to == State::kRejecting ||
               to == State::kClosing;
      case State::kConnecting:
        return to == State::kStarting || to == State::kRelaying || to == State::kHeld ||
               to == State::kRejecting || to == State::kClosing;
      case State::kStarting:
        return to == State::kConnecting || to == State::kRelaying || to == State::kHeld ||
               to == State::kRejecting || to == State::kClosing;
      case State::kRejecting:
        return to == State::kConnecting || to == State::kClosing;
      case State::kRelaying:
        return to == State::kClosing;
      case State::kClosing:
        return to == State::kFree;
    }
    return false;
  };
  for (const State from : all) {
    for (const State to : all) {
      CAPTURE(static_cast<int>(from));
      CAPTURE(static_cast<int>(to));
      CHECK(aborts(from, to) == !in_the_table(from, to));
    }
  }
}

TEST_CASE("a session moves bytes both ways and counts them") {
  Scene scene;
  CHECK(test::send_all(scene.client(), "question"));
  CHECK(scene.event(Side::kClient, EPOLLIN | EPOLLOUT) == SessionProgress::kWaiting);
  CHECK(test::receive(scene.backend(), 8) == "question");
  CHECK(test::send_all(scene.backend(), "answer"));
  CHECK(scene.event(Side::kBackend, EPOLLIN | EPOLLOUT) == SessionProgress::kWaiting);
  CHECK(test::receive(scene.client(), 6) == "answer");
  CHECK(scene.counters.bytes_client_to_backend.get() == 8);
  CHECK(scene.counters.bytes_backend_to_client.get() == 6);
  CHECK(scene.session.end_reason == EndReason::kCount);
}

TEST_CASE("it is over when both directions have ended; who ended first is remembered") {
  Scene scene;
  const bool client_first = [] {
    bool first = true;
    SUBCASE("the client") {
      first = true;
    }
    SUBCASE("the backend") {
      first = false;
    }
    return first;
  }();
  const int first = client_first ? scene.client() : scene.backend();
  const int second = client_first ? scene.backend() : scene.client();
  const Side first_side = client_first ? Side::kClient : Side::kBackend;
  const Side second_side = client_first ? Side::kBackend : Side::kClient;
  test::send_fin(first);
  CHECK(scene.event(first_side, EPOLLIN | EPOLLRDHUP) == SessionProgress::kWaiting);
  CHECK(test::receive_to_end(second).end == StreamEnd::kFin);
  test::send_fin(second);
  CHECK(scene.event(second_side, EPOLLIN | EPOLLRDHUP | EPOLLHUP) == SessionProgress::kOver);
  CHECK(scene.session.end_reason ==
        (client_first ? EndReason::kClientClosed : EndReason::kBackendClosed));
}

TEST_CASE("a reset ends it, whoever resets") {
  Scene scene;
  SUBCASE("the client") {
    CHECK(test::send_all(scene.client(), "last"));
    CHECK(test::is_readable(scene.session.client.get()));
    test::reset_connection(scene.front.a);
    CHECK(scene.event(Side::kClient, EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR) ==
          SessionProgress::kOver);
    CHECK(scene.session.end_reason == EndReason::kClientReset);
    CHECK(test::receive(scene.backend(), 4) == "last");
  }
  SUBCASE("the backend") {
    CHECK(test::send_all(scene.backend(), "last"));
    CHECK(test::is_readable(scene.session.backend.get()));
    test::reset_connection(scene.back.b);
    CHECK(scene.event(Side::kBackend, EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR) ==
          SessionProgress::kOver);
    CHECK(scene.session.end_reason == EndReason::kBackendReset);
    CHECK(test::receive(scene.client(), 4) == "last");
  }
}

TEST_CASE("a backend found dead by writing to it: its last words are passed on") {
  Scene scene;
  CHECK(test::send_all(scene.backend(), "farewell"));
  CHECK(test::is_readable(scene.session.backend.get()));
  test::reset_connection(scene.back.b);
  CHECK(test::send_all(scene.client(), "more"));
  // Only the client's event is known yet.
  CHECK(scene.event(Side::kClient, EPOLLIN) == SessionProgress::kOver);
  CHECK(test::receive(scene.client(), 8) == "farewell");
  CHECK(scene.session.end_reason == EndReason::kBackendReset);
}

TEST_CASE("a client found gone by writing to it") {
  for (const bool tcp : {true, false}) {
    CAPTURE(tcp);
    Scene scene(tcp);
    CHECK(test::send_all(scene.client(), "bye"));
    CHECK(test::is_readable(scene.session.client.get()));
    if (tcp) {
      test::reset_connection(scene.front.a);
    } else {
      scene.front.a.reset();
    }
    CHECK(test::send_all(scene.backend(), "news"));
    CHECK(scene.event(Side::kBackend, EPOLLIN) == SessionProgress::kOver);
    CHECK(test::receive(scene.backend(), 3) == "bye");
    CHECK(scene.session.end_reason == (tcp ? EndReason::kClientReset : EndReason::kClientClosed));
  }
}

TEST_CASE("without a pipe a session is starved, and loses nothing") {
  Scene scene;
  CHECK(test::send_all(scene.client(), "later"));
  {
    const test::FdExhaustion out(0);
    CHECK(scene.event(Side::kClient, EPOLLIN) == SessionProgress::kStarved);
  }
  CHECK(scene.session.relay(scene.pool, scene.counters) == SessionProgress::kWaiting);
  CHECK(test::receive(scene.backend(), 5) == "later");
}

TEST_CASE("letting go of the sockets sends a FIN though a copy of the descriptor exists") {
  Scene scene;
  const UniqueFd copy_of_client(::dup(scene.session.client.get()));
  const UniqueFd copy_of_backend(::dup(scene.session.backend.get()));
  scene.session.shut_down(Side::kClient);
  scene.session.shut_down(Side::kBackend);
  scene.session.release_sockets();
  CHECK(test::receive_to_end(scene.client()).end == StreamEnd::kFin);
  CHECK(test::receive_to_end(scene.backend()).end == StreamEnd::kFin);
  CHECK_FALSE(scene.session.client.valid());
  CHECK_FALSE(scene.session.backend.valid());
}

TEST_CASE("a session that was over when it was taken up ends for a reason") {
  for (const bool up : {false, true}) {
    Scene scene;
    std::array<Survivor::Way, 2> ways;
    ways[static_cast<std::size_t>(Direction::kUp)].ended = up;
    ways[static_cast<std::size_t>(Direction::kDown)].ended = true;
    scene.session.resume(ways);
    const SessionProgress progress = scene.session.relay(scene.pool, scene.counters);
    CHECK(progress == (up ? SessionProgress::kOver : SessionProgress::kWaiting));
    CHECK(scene.session.end_reason == (up ? EndReason::kClientClosed : EndReason::kBackendClosed));
  }
}

TEST_CASE("a session object serves one client after the other") {
  Scene scene;
  test::reset_connection(scene.front.a);
  CHECK(scene.event(Side::kClient, EPOLLRDHUP | EPOLLHUP | EPOLLERR) == SessionProgress::kOver);
  scene.session.release_sockets();
  scene.session.transition(State::kClosing);
  scene.session.transition(State::kFree);

  test::Pair front = test::tcp_pair();
  test::Pair back = test::tcp_pair();
  scene.session.begin(std::move(front.b), true, {});
  scene.session.transition(State::kConnecting);
  scene.session.backend = std::move(back.a);
  scene.session.transition(State::kRelaying);
  CHECK(test::send_all(front.a.get(), "next"));
  CHECK(scene.event(Side::kClient, EPOLLIN | EPOLLOUT) == SessionProgress::kWaiting);
  CHECK(test::receive(back.b.get(), 4) == "next");
  CHECK(scene.session.end_reason == EndReason::kCount);
  CHECK_FALSE(scene.session.taking_farewell());
}

}  // namespace pg_gateway
