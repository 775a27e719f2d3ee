"""The receiver of deliveries: makes his key pair, opens what was sealed to it, joins it to his own keys."""
