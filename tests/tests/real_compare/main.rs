//! The embedded broker beside a real Kafka 4.3.1, with `transaction.version` 2 and 1: the same scripts of raw requests, the same answers.
//!
//! Every difference is a defect of the embedded broker. The scripts of one level share one real broker; each has its own topics and ids.

/// A test for each script, at the named levels of `transaction.version`.
macro_rules! scripts {
    (at $levels:tt: $($(#[$about:meta])* $script:ident;)*) => {
        $(
            mod $script {
                scripts!(@test $levels $script [$(#[$about])*]);
            }
        )*
    };
    (@test [2] $script:ident [$(#[$about:meta])*]) => {
        $(#[$about])*
        #[tokio::test]
        async fn as_kafka_with_transaction_version_2() {
            kommit_tests::compare::compare(2, stringify!($script), super::$script).await;
        }
    };
    (@test [2, 1] $script:ident $about:tt) => {
        scripts!(@test [2] $script $about);
        scripts!(@test [1] $script $about);
    };
    (@test [1] $script:ident [$(#[$about:meta])*]) => {
        $(#[$about])*
        #[tokio::test]
        async fn as_kafka_with_transaction_version_1() {
            kommit_tests::compare::compare(1, stringify!($script), super::$script).await;
        }
    };
}

mod damaged;
mod groups;
mod identities;
mod joining;
mod malformed;
mod offsets;
mod produce;
mod reading;
mod restarts;
mod sequences;
mod surface;
mod topics;
mod transactions;
