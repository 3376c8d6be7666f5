//! The read models.

use readside::prelude::*;

use super::events::{Deposited, Imported, Opened, SettingChanged, Tagged, Withdrawn};

/// All read models.
pub(crate) fn all() -> [Projection; 4] {
    [accounts(), days(), settings(), audit()]
}

/// Accounts with their balances. Readers can find them by their tags.
pub(crate) fn accounts() -> Projection {
    let table = Table::new("accounts")
        .column(text("id"))
        .column(text("owner"))
        .column(text_array("tags"))
        .column(decimal("balance", 14, 2))
        .column(integer("bookings").default(0))
        .column(timestamp("since"))
        .primary_key(["id"])
        .index_by(Index::new("by_tag").column("tags").gin())
        .demand("covered", "balance >= 0");
    let booked = |account: &str, change: Assignment| {
        update([change, increment("bookings", 1)], [eq("id", account)]).expect_rows(1)
    };
    Projection::new("accounts", 1)
        .table(table)
        .on(|e, p: Imported| {
            create([
                set("id", e.aggregate_id()),
                set("owner", p.owner),
                set("tags", vec!["imported"]),
                set("balance", p.balance),
                set("since", e.created_at()),
            ])
        })
        .on(|e, p: Opened| {
            create([
                set("id", e.aggregate_id()),
                set("owner", p.owner),
                set("tags", p.tags),
                set("balance", Decimal::ZERO),
                set("since", e.created_at()),
            ])
        })
        .on(|e, p: Tagged| update([set("tags", p.tags)], [eq("id", e.aggregate_id())]).expect_rows(1))
        .on(move |e, p: Deposited| booked(e.aggregate_id(), increment("balance", p.amount)))
        .on(move |e, p: Withdrawn| booked(e.aggregate_id(), decrement("balance", p.amount)))
}

/// The sums of deposits and withdrawals of each day.
pub(crate) fn days() -> Projection {
    Projection::new("days", 1)
        .table(
            Table::new("days")
                .column(date("day"))
                .column(decimal("deposited", 14, 2).default(Decimal::ZERO))
                .column(decimal("withdrawn", 14, 2).default(Decimal::ZERO))
                .column(integer("bookings").default(0))
                .primary_key(["day"]),
        )
        .on(|_, p: Deposited| {
            upsert(["day"], [set("day", p.day), increment("deposited", p.amount), increment("bookings", 1)])
        })
        .on(|_, p: Withdrawn| {
            upsert(["day"], [set("day", p.day), increment("withdrawn", p.amount), increment("bookings", 1)])
        })
}

/// The settings of the tenant.
pub(crate) fn settings() -> Projection {
    Projection::new("settings", 1)
        .table(Table::new("settings").column(text("name")).column(text("value")).primary_key(["name"]))
        .on(|e, p: SettingChanged| upsert(["name"], [set("name", e.aggregate_id()), set("value", p.value)]))
}

/// Every event in order, also events of types that do not exist yet.
pub(crate) fn audit() -> Projection {
    Projection::new("audit", 1)
        .table(
            Table::new("audit")
                .column(integer("position"))
                .column(timestamp("at"))
                .column(text("what"))
                .column(text("whom"))
                .column(text("who"))
                .primary_key(["position"])
                .index(["whom", "position"]),
        )
        .on_any(|e| {
            create([
                set("position", e.position()),
                set("at", e.created_at()),
                set("what", e.event_type()),
                set("whom", e.aggregate_id()),
                set("who", e.creator()),
            ])
        })
}

#[cfg(test)]
mod tests {
    use readside::testing::{given, row};

    use super::*;

    #[test]
    fn money_is_exact() {
        let event = |kind: &str, payload: &str| Event::new("acme", "account", "a1", kind).with_payload(payload);
        let booked = |kind: &str, amount: &str| {
            let payload = format!(r#"{{"request": "r", "amount": "{amount}", "day": "2026-01-31"}}"#);
            event(kind, &payload)
        };
        let events = [
            event(Opened::TYPE, r#"{"owner": "Ada", "tags": []}"#),
            booked(Deposited::TYPE, "0.10"),
            booked(Deposited::TYPE, "0.20"),
            booked(Withdrawn::TYPE, "0.29"),
        ];
        let day = row([
            ("day", "2026-01-31".parse::<readside::Date>().unwrap().into()),
            ("deposited", Value::decimal("0.30")),
            ("withdrawn", Value::decimal("0.29")),
            ("bookings", 3.into()),
        ]);
        given(&days(), events).expect_rows("days", [day]);
    }
}
