# SPDX-License-Identifier: MIT
# Three targets: the core (knows nothing of Node), the addon, and the tests of the core.
{
  "variables": {
    "NAPI_VERSION": "8",
    # The way of a message goes through a dozen functions of several files: as one, half the instructions in user space.
    "whole_program": ["-flto=auto", "-fvisibility=hidden"],
    # 3 needs the optimization that there is. A count or an index that is out of bounds ends the process, and its sessions
    # go on in the next one. test/unit/hardening.test.ts looks for all of this in the addon that was built.
    "hardening": [
      "-fstack-protector-strong", "-fstack-clash-protection", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3",
      "-D_GLIBCXX_ASSERTIONS", "-Wformat", "-Werror=format-security"
    ],
    # 1: the tests of the core too (they need doctest): node-gyp configure -- -Dwith_tests=1
    "with_tests%": 0
  },
  "target_defaults": {
    "default_configuration": "Release",
    "cflags!": ["-O3", "-w"],
    "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
    "cflags": [
      "-O2", "-g", "-fPIC", "-Wall", "-Wextra", "<@(hardening)"
    ],
    "cflags_cc": ["-std=c++20"],
    "ldflags": ["-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"],
    "conditions": [
      ["target_arch=='x64'", { "cflags": ["-fcf-protection"] }],
      ["target_arch=='arm64'", { "cflags": ["-mbranch-protection=standard"] }]
    ]
  },
  "targets": [
    {
      "target_name": "dataplane_core",
      "type": "static_library",
      "standalone_static_library": 1,
      "cflags": ["<@(whole_program)"],
      "cflags_cc": ["-fno-exceptions", "-fno-rtti", "-Wpedantic", "-Wshadow", "-Wconversion"],
      "sources": [
        "admission.cc", "bulk_flows.cc", "client_address.cc", "early_start.cc", "engine.cc", "fd.cc", "fd_store.cc",
        "inquiry.cc", "ledger.cc", "listener.cc", "mailbox.cc",
        "opening.cc", "parking_lot.cc", "pg_wire.cc", "pipe_pool.cc", "recovery.cc", "recovery_trial.cc", "rejection.cc", "relay.cc",
        "session.cc", "session_log.cc", "session_store.cc", "socket_address.cc", "tcp_account.cc",
        "worker.cc", "worker_accept.cc", "worker_bulk.cc", "worker_end.cc", "worker_hold.cc", "worker_inquiry.cc",
        "worker_keep.cc", "worker_opening.cc", "worker_rejection.cc", "worker_sessions.cc"
      ]
    },
    {
      "target_name": "dataplane",
      "dependencies": [
        "dataplane_core", "<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"
      ],
      "sources": ["binding.cc", "engine_wrap.cc", "inquiry_object.cc", "session_events_object.cc", "stats_object.cc"],
      "defines": ["NAPI_VERSION=<(NAPI_VERSION)"],
      "cflags": ["<@(whole_program)"],
      "ldflags": ["<@(whole_program)", "-O2"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti"]
    }
  ],
  "conditions": [
    ["with_tests==1", {
      "targets": [
        {
          "target_name": "dataplane_test",
          "type": "executable",
          "dependencies": ["dataplane_core"],
          "include_dirs": ["."],
          "libraries": ["-lpthread"],
          "ldflags": ["<@(whole_program)", "-O2"],
          # Their code is two thirds of all, and it is compiled much more often than it is run.
          "cflags!": ["-O2", "-g"],
          "cflags": ["-O1", "-g1"],
          "cflags_cc!": ["-fno-exceptions", "-fno-rtti"],
          "cflags_cc": ["-fexceptions", "-frtti"],
          "sources": ["<!@(ls ../test/native/*.cc)"]
        }
      ]
    }]
  ]
}
