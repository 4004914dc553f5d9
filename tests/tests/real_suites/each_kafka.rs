//! One suite against each kind of broker, and what every suite begins with.

use std::hash::{BuildHasher, RandomState};
use std::sync::Once;
use std::time::Duration;

use kommit_tests::kafka::{Setup, Stage};
use kommit_tests::proxy::Draws;

/// Makes three tests out of each suite, one for each kind of broker. A suite is an `async fn(Stage)`.
macro_rules! against_each_kafka {
    ($($(#[$documentation:meta])* $suite:ident),+ $(,)?) => {
        against!([kafka_4_3, kafka_4_3_with_transaction_version_1, kafka_3_9] $($(#[$documentation])* $suite,)+);
    };
}

/// The same without the broker that has a new epoch for each transaction: what a suite stages does not exist there.
macro_rules! against_each_kafka_of_transaction_version_1 {
    ($($(#[$documentation:meta])* $suite:ident),+ $(,)?) => {
        against!([kafka_4_3_with_transaction_version_1, kafka_3_9] $($(#[$documentation])* $suite,)+);
    };
}

/// The same once for each release: the suite has no transactions.
macro_rules! against_each_release {
    ($($(#[$documentation:meta])* $suite:ident),+ $(,)?) => {
        against!([kafka_4_3, kafka_3_9] $($(#[$documentation])* $suite,)+);
    };
}

macro_rules! against {
    ($kinds:tt $($(#[$documentation:meta])* $suite:ident,)+) => {
        $(against!(@suite $kinds $(#[$documentation])* $suite);)+
    };
    (@suite [$($kind:ident),+] $(#[$documentation:meta])* $suite:ident) => {
        $(#[$documentation])*
        mod $suite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $kind() {
                    if let Some(stage) = crate::each_kafka::enter(crate::each_kafka::$kind()).await {
                        super::$suite(stage).await;
                    }
                }
            )+
        }
    };
}

pub(crate) fn kafka_4_3() -> Setup {
    Setup::kafka_4_3()
}

pub(crate) fn kafka_4_3_with_transaction_version_1() -> Setup {
    Setup::kafka_4_3().transaction_version(1)
}

pub(crate) fn kafka_3_9() -> Setup {
    Setup::kafka_3_9()
}

/// How often a coordinator looks for transactions that are over their time: a suite waits for that.
const LOOK_FOR_TIMED_OUT: Duration = Duration::from_millis(500);

/// Waits for the turn of a suite. All suites use the same properties, so that they share a broker.
pub(crate) async fn enter(setup: Setup) -> Option<Stage> {
    static LOGGING: Once = Once::new();
    LOGGING.call_once(|| {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .init();
    });
    let setup = setup.property(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        LOOK_FOR_TIMED_OUT.as_millis(),
    );
    Stage::enter(setup).await
}

/// The numbers of this run: another seed each time, printed, unless `KOMMIT_SEED` names one.
pub(crate) fn draws() -> Draws {
    let given = std::env::var("KOMMIT_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one("seed"));
    println!("KOMMIT_SEED={seed}");
    Draws::from_seed(seed)
}
