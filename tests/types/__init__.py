"""What a user's type checker sees; nothing here is run."""
