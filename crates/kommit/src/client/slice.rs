//! A slice of records, one after the other on the way of a single one.

use kommit_accumulator::{Delivery, TransactionNumber};

use super::Client;
use crate::error::SendAllError;
use crate::record::Record;

impl Client {
    /// Sends in the slice's order. The first record that is refused ends it, so that none overtakes it.
    pub(crate) async fn send_all(
        &self,
        records: &[Record<'_>],
        transaction: Option<TransactionNumber>,
    ) -> Result<Vec<Delivery>, SendAllError> {
        let mut sent = Vec::with_capacity(records.len());
        for record in records {
            if let Some(delivery) = self.send_amid(record, transaction) {
                sent.push(delivery);
                continue;
            }
            match self.send(*record, transaction).await {
                Ok(delivery) => sent.push(delivery),
                Err(error) => return Err(SendAllError { sent, error }),
            }
        }
        Ok(sent)
    }
}
