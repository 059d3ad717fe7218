"""The ledger of every weight file, the resolver that finds them, and our own small weights."""
