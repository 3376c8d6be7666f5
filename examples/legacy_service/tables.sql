-- The tables that the service had before it had events, and has still. readside knows nothing of them.
CREATE TABLE IF NOT EXISTS customers (
    tenant text NOT NULL,
    id text NOT NULL,
    owner text NOT NULL,
    signed_up timestamptz NOT NULL DEFAULT now(),
    -- The balance of the time before there were events; nothing for those who came later.
    old_balance numeric(14, 2),
    PRIMARY KEY (tenant, id)
);
CREATE TABLE IF NOT EXISTS receipts (
    tenant text NOT NULL,
    customer text NOT NULL,
    request text NOT NULL,
    amount numeric(14, 2) NOT NULL,
    day date NOT NULL,
    PRIMARY KEY (tenant, customer, request),
    FOREIGN KEY (tenant, customer) REFERENCES customers
);
