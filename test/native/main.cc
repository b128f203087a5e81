// SPDX-License-Identifier: MIT
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <csignal>

int main(int argc, char** argv) {
  // splice(2) has no MSG_NOSIGNAL: a thread that pumps must not have the signal's default action
  // (workers block every signal; some tests pump on this thread).
  std::signal(SIGPIPE, SIG_IGN);
  return doctest::Context(argc, argv).run();
}
