"""What is compared, who is certainly better, and what to choose: no page is written here."""
