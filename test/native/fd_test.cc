// SPDX-License-Identifier: MIT
#include "fd.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace pg_gateway {

namespace {

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

UniqueFd open_null() {
  return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

}  // namespace

TEST_CASE("UniqueFd closes what it owns, once") {
  int number = -1;
  {
    const UniqueFd fd = open_null();
    number = fd.get();
    CHECK(fd.valid());
    CHECK(is_open(number));
  }
  CHECK_FALSE(is_open(number));
}

TEST_CASE("UniqueFd hands its descriptor over") {
  UniqueFd first = open_null();
  const int number = first.get();
  SUBCASE("to a new owner") {
    const UniqueFd second = std::move(first);
    CHECK(second.get() == number);
    CHECK_FALSE(first.valid());  // NOLINT(bugprone-use-after-move): that is the question
  }
  SUBCASE("to an owner of another, which is closed") {
    UniqueFd second = open_null();
    const int old = second.get();
    second = std::move(first);
    CHECK(second.get() == number);
    CHECK_FALSE(is_open(old));
  }
  SUBCASE("to itself") {
    UniqueFd& same = first;
    first = std::move(same);
    CHECK(first.get() == number);
    CHECK(is_open(number));
  }
  SUBCASE("to the caller") {
    CHECK(first.release() == number);
    CHECK_FALSE(first.valid());
    CHECK(is_open(number));
    ::close(number);
  }
}

TEST_CASE("UniqueFd keeps errno over a close") {
  UniqueFd fd = open_null();
  errno = ECONNREFUSED;
  fd.reset();
  CHECK(errno == ECONNREFUSED);
  fd.reset();  // idempotent
  CHECK_FALSE(fd.valid());
}

TEST_CASE("SysError says which call failed, and why") {
  CHECK(SysError{"connect", ECONNREFUSED}.text() == "connect: Connection refused (ECONNREFUSED)");
  CHECK(SysError{"connect", 99999}.text() == "connect: Unknown error 99999");
  CHECK(SysError{}.text() == "no error");
  CHECK_FALSE(static_cast<bool>(SysError{}));
  errno = EMFILE;
  CHECK(SysError::last("pipe2").code == EMFILE);
}

TEST_CASE("Result holds a value or an error") {
  Result<int> good(7);
  CHECK(good.ok());
  CHECK(good.take() == 7);
  const Result<int> bad(SysError{"bind", EADDRINUSE});
  CHECK_FALSE(bad.ok());
  CHECK(bad.error().code == EADDRINUSE);
}

TEST_CASE("what more time may mend is told from what it may not") {
  for (const int code : {EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC}) CHECK(out_of_resources(code));
  for (const int code : {ECONNREFUSED, ETIMEDOUT, EAGAIN, 0}) CHECK_FALSE(out_of_resources(code));
}

TEST_CASE("the factories make close-on-exec descriptors") {
  Result<UniqueFd> epoll = make_epoll();
  Result<UniqueFd> event = make_eventfd();
  REQUIRE(epoll.ok());
  REQUIRE(event.ok());
  CHECK((::fcntl(epoll.value().get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((::fcntl(event.value().get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((::fcntl(event.value().get(), F_GETFL) & O_NONBLOCK) != 0);
}

TEST_CASE("the clock only goes forward") {
  const std::int64_t before = monotonic_ns();
  CHECK(before > 0);
  CHECK(monotonic_ns() >= before);
}

}  // namespace pg_gateway
