//! The embedded broker beside a real Kafka 4.3.1, with `transaction.version` 2 and 1, and beside 3.9.1: the same scripts of raw requests, the
//! same answers.
//!
//! Every difference is a defect of the embedded broker, which answers as 4.3.1 does: beside 3.9.1 it is given that one's ranges of versions,
//! and those scripts are left out that the two releases answer differently. The scripts of one level share one real broker; each has
//! its own topics and ids.

/// A test for each script, at the named levels of `transaction.version`, or beside 3.9.1.
macro_rules! scripts {
    (at $levels:tt: $($(#[$about:meta])* $script:ident;)*) => {
        $(
            mod $script {
                scripts!(@each $levels $script [$(#[$about])*]);
            }
        )*
    };
    (@each [$($level:tt),+] $script:ident $about:tt) => {
        $(scripts!(@test $level $script $about);)+
    };
    (@test 2 $script:ident [$(#[$about:meta])*]) => {
        $(#[$about])*
        #[tokio::test]
        async fn as_kafka_with_transaction_version_2() {
            kommit_tests::compare::compare(2, stringify!($script), super::$script).await;
        }
    };
    (@test 1 $script:ident [$(#[$about:meta])*]) => {
        $(#[$about])*
        #[tokio::test]
        async fn as_kafka_with_transaction_version_1() {
            kommit_tests::compare::compare(1, stringify!($script), super::$script).await;
        }
    };
    (@test 3.9 $script:ident [$(#[$about:meta])*]) => {
        $(#[$about])*
        #[tokio::test]
        async fn as_kafka_3_9() {
            kommit_tests::compare::compare_with_3_9(stringify!($script), super::$script).await;
        }
    };
}

mod damaged;
mod groups;
mod identities;
mod joining;
mod malformed;
mod malformed_questions;
mod offsets;
mod produce;
mod reading;
mod repetitions;
mod restarts;
mod rivals;
mod sequences;
mod settings;
mod surface;
mod topics;
mod transactions;
