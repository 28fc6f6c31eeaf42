"""What machines and requests cost, in whole millionths; statements of it that reconcile with the ledger."""
