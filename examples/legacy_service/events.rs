//! The events, and the account as decisions see it.

use std::collections::BTreeSet;

use readside::error::PayloadError;
use readside::prelude::*;
use readside::{Aggregate, Date, Event};
use serde::{Deserialize, Serialize};

/// A customer from the time before there were events.
#[derive(Serialize, Deserialize)]
pub(crate) struct Imported {
    pub(crate) owner: String,
    pub(crate) balance: Decimal,
}
impl Payload for Imported {
    const AGGREGATE: &'static str = "account";
    const TYPE: &'static str = "account.imported";
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) owner: String,
    pub(crate) tags: Vec<String>,
}
impl Payload for Opened {
    const AGGREGATE: &'static str = "account";
    const TYPE: &'static str = "account.opened";
}

/// The new tags replace the old ones.
#[derive(Serialize, Deserialize)]
pub(crate) struct Tagged {
    pub(crate) tags: Vec<String>,
}
impl Payload for Tagged {
    const AGGREGATE: &'static str = "account";
    const TYPE: &'static str = "account.tagged";
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Deposited {
    pub(crate) request: String,
    pub(crate) amount: Decimal,
    pub(crate) day: Date,
}
impl Payload for Deposited {
    const AGGREGATE: &'static str = "account";
    const TYPE: &'static str = "account.deposited";
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Withdrawn {
    pub(crate) request: String,
    pub(crate) amount: Decimal,
    pub(crate) day: Date,
}
impl Payload for Withdrawn {
    const AGGREGATE: &'static str = "account";
    const TYPE: &'static str = "account.withdrawn";
}

/// A setting of the tenant; its name is the id of the aggregate.
#[derive(Serialize, Deserialize)]
pub(crate) struct SettingChanged {
    pub(crate) value: String,
}
impl Payload for SettingChanged {
    const AGGREGATE: &'static str = "setting";
    const TYPE: &'static str = "setting.changed";
}

/// The state that a withdrawal is decided on.
#[derive(Default)]
pub(crate) struct Account {
    pub(crate) balance: Decimal,
    /// The requests of earlier withdrawals.
    pub(crate) requests: BTreeSet<String>,
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";

    fn apply(&mut self, event: &Event) -> Result<(), PayloadError> {
        let change = match event.event_type() {
            Imported::TYPE => event.payload::<Imported>()?.balance,
            Deposited::TYPE => event.payload::<Deposited>()?.amount,
            Withdrawn::TYPE => {
                let withdrawn = event.payload::<Withdrawn>()?;
                self.requests.insert(withdrawn.request);
                -withdrawn.amount
            }
            _ => return Ok(()),
        };
        let balance = self.balance.checked_add(change);
        self.balance = balance.ok_or_else(|| PayloadError::unfit("the balance has more than 18 digits"))?;
        Ok(())
    }
}
