// SPDX-License-Identifier: MIT
#include "pipe_pool.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "support.h"

namespace pg_gateway {

TEST_CASE("a pipe is made when there is none, and used again when it came back") {
  PipePool pool;
  CHECK(pool.idle() == 0);
  std::unique_ptr<Pipe> pipe = pool.take();
  REQUIRE(pipe != nullptr);
  const int number = pipe->read_end.get();
  pool.give_back(std::move(pipe));
  CHECK(pool.idle() == 1);
  pipe = pool.take();
  CHECK(pipe->read_end.get() == number);
  CHECK(pool.idle() == 0);
}

TEST_CASE("a pipe's slots are what the kernel gave") {
  PipePool pool;
  const std::unique_ptr<Pipe> pipe = pool.take();
  REQUIRE(pipe != nullptr);
  const int bytes = ::fcntl(pipe->write_end.get(), F_GETPIPE_SZ);
  CHECK(pipe->slots == static_cast<std::uint32_t>(bytes / ::sysconf(_SC_PAGESIZE)));
  CHECK((::fcntl(pipe->read_end.get(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK((::fcntl(pipe->write_end.get(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK((::fcntl(pipe->read_end.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((::fcntl(pipe->write_end.get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("no more than kMaxIdle pipes are kept") {
  const std::size_t before = test::open_fds().size();
  {
    PipePool pool;
    std::vector<std::unique_ptr<Pipe>> taken;
    for (std::size_t i = 0; i < 2 * PipePool::kMaxIdle; ++i) taken.push_back(pool.take());
    CHECK(test::open_fds().size() == before + 4 * PipePool::kMaxIdle);
    for (std::unique_ptr<Pipe>& pipe : taken) pool.give_back(std::move(pipe));
    CHECK(pool.idle() == PipePool::kMaxIdle);
    CHECK(test::open_fds().size() == before + 2 * PipePool::kMaxIdle);
  }
  CHECK(test::open_fds().size() == before);
}

TEST_CASE("without descriptors there is no pipe, and afterwards there is") {
  PipePool pool;
  {
    const test::FdExhaustion out(1);  // a pipe needs two
    const std::unique_ptr<Pipe> none = pool.take();
    const int error = errno;
    CHECK(none == nullptr);
    CHECK(error == EMFILE);
  }
  CHECK(pool.take() != nullptr);
}

}  // namespace pg_gateway
