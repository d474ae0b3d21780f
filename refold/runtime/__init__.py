"""What a process of Refold needs: settings, connections, threads, telemetry."""
