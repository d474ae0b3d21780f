"""What `refold doctor` looks at: a check is one function, and says what it found."""
