//! What several suites have a proxy do to the end of a transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kafka_protocol::messages::{EndTxnResponse, ResponseKind};
use kommit::ErrorCode;
use kommit_tests::proxy::{Decision, Proxy, Verdict};

/// Keeps the first commit back, until it is told to deliver it.
pub(crate) fn keep_back_first_commit(proxy: &Proxy) {
    let mut is_first = true;
    proxy.rule(move |request| {
        let is_commit = request.end_of_transaction() == Some(Decision::Commit);
        if is_commit && std::mem::take(&mut is_first) {
            return Verdict::KeepBack;
        }
        Verdict::Pass
    });
}

/// Answers the ends of transactions as a busy coordinator does, as often as the number says, which counts down and can be set at any time.
pub(crate) fn answer_as_busy(proxy: &Proxy) -> Arc<AtomicUsize> {
    let busy = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&busy);
    proxy.rule(move |request| {
        let is_busy = |times: usize| times.checked_sub(1);
        let is_refused = request.end_of_transaction().is_some()
            && left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_busy)
                .is_ok();
        if is_refused {
            let answer = EndTxnResponse::default()
                .with_error_code(ErrorCode::ConcurrentTransactions.code())
                .with_producer_id((-1).into())
                .with_producer_epoch(-1);
            return Verdict::Answer(Box::new(ResponseKind::EndTxn(answer)));
        }
        Verdict::Pass
    });
    busy
}
