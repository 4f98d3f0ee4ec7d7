// SPDX-License-Identifier: Apache-2.0

package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -no-global-types -go-package bpf -target bpfel -type limits -type rule_flag -type row_flag -type reason -type event_kind -type port_rule -type port -type row -type bucket -type flow -type flow_bucket -type flow_flag -type flow_bit -type tag_action -type port_counters -type list -type list_flag -type flow_key -type verdict -type list_rule -type rule_count -type rate -type event -type renewal -type entry lane src/lane.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3 -Isrc -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -no-global-types -go-package bpf -target bpfel -type capture_limits -type capture_sample -type capture_missed capture src/capture.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3 -Isrc -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
