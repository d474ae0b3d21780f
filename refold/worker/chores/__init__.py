"""What workers see to beside their activities: each chore by itself, again and again."""
