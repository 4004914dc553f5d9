#!/usr/bin/env bash
# The long form of the mixed run: transactions, idempotent records, a loaded file and a pipeline under random faults against a real Kafka, then
# a reader that knows nothing of the client.
#
#   tests/long/mixed.sh [SECONDS] [KIND]
#
# SECONDS is 900 unless told; KIND is kafka_4_3, kafka_4_3_with_transaction_version_1 or kafka_3_9. What it prints at the end belongs into
# docs/long-run.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export KOMMIT_MIXED_SECONDS=${1:-900} KAFKA_REQUIRED=1
exec cargo test -p kommit-tests --test real_suites -- --nocapture \
    "mixed::a_mixed_run_under_random_faults_has_no_anomaly::${2:-kafka_4_3}" --exact
