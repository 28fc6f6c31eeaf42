"""What plans and claims need of the other rooms: the ledger's traffic, an engine of this machine, servers to ask."""
