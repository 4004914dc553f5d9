import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Kafka's own producer with the options of `kommit perf` and its line of JSON. The virtual machine is warmed up before the measurement. */
public final class Peer {
    /** One in so many records is timed, as in `kommit perf`. */
    private static final int TIMED_EVERY = 1024;

    private static final Map<String, String> options = new HashMap<>();
    private static final AtomicLong acked = new AtomicLong();
    private static final AtomicLong failed = new AtomicLong();
    private static long[] times = new long[1 << 20];
    private static int timed;
    private static long started;
    private static long processorTime;

    public static void main(String[] arguments) throws Exception {
        for (int i = 0; i + 1 < arguments.length; i += 2) {
            options.put(arguments[i].substring(2), arguments[i + 1]);
        }
        String mode = text("mode", "throughput");
        try (var producer = new KafkaProducer<>(config(mode), new ByteArraySerializer(), new ByteArraySerializer())) {
            if (mode.equals("txn")) {
                transactions(producer);
            } else {
                records(producer, mode.equals("latency"));
            }
        }
    }

    private static String text(String name, String otherwise) {
        return options.getOrDefault(name, otherwise);
    }

    private static long number(String name, long otherwise) {
        return options.containsKey(name) ? Long.parseLong(options.get(name)) : otherwise;
    }

    /** Idempotent, acks=all, five requests in flight and the partitioner are the defaults. */
    private static Map<String, Object> config(String mode) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", text("bootstrap-servers", "127.0.0.1:9092"));
        config.put("linger.ms", text("linger-ms", "5"));
        config.put("batch.size", text("batch-size", "16384"));
        config.put("compression.type", text("compression", "none"));
        config.put("buffer.memory", String.valueOf(32 << 20));
        config.put("enable.metrics.push", "false");
        if (mode.equals("txn")) {
            config.put("transactional.id", text("transactional-id", "peer"));
        }
        return config;
    }

    /** Keys of 16 bytes, which records have in turn. */
    private static byte[][] keys() {
        byte[][] keys = new byte[(int) number("keys", 0)][];
        for (int i = 0; i < keys.length; i++) {
            keys[i] = String.format(Locale.ROOT, "%016d", i).getBytes(StandardCharsets.US_ASCII);
        }
        return keys;
    }

    private static byte[] payload() {
        byte[] letters = new byte[(int) number("size", 100)];
        long state = 0x2545f4914f6cdd1dL;
        for (int i = 0; i < letters.length; i++) {
            state ^= state << 13;
            state ^= state >>> 7;
            state ^= state << 17;
            letters[i] = (byte) ('A' + Long.remainderUnsigned(state, 26));
        }
        return letters;
    }

    private static void records(KafkaProducer<byte[], byte[]> producer, boolean isLatency) throws Exception {
        long rate = number("rate", isLatency ? 10_000 : 0);
        long records = number("records", 1_000_000);
        send(producer, Math.min(number("warmup", isLatency ? 20_000 : 1_000_000), records), rate);
        begin();
        send(producer, records, rate);
        report();
    }

    private static void send(KafkaProducer<byte[], byte[]> producer, long count, long rate) throws Exception {
        byte[] value = payload();
        byte[][] keys = keys();
        long begun = System.nanoTime();
        Thread[] threads = new Thread[(int) number("tasks", 1)];
        for (int task = 0; task < threads.length; task++) {
            Share share = new Share(task, threads.length, count, rate, begun);
            threads[task] = new Thread(() -> share.send(producer, keys, value));
            threads[task].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        producer.flush();
    }

    /** The records of one thread: each has the next one in turn. */
    private record Share(int task, int tasks, long count, long rate, long begun) {
        void send(KafkaProducer<byte[], byte[]> producer, byte[][] keys, byte[] value) {
            String topic = text("topic", "");
            for (long i = task; i < count; i += tasks) {
                long sent = 0;
                if (rate > 0) {
                    sent = begun + i * 1_000_000_000L / rate;
                    for (long left = sent - System.nanoTime(); left > 0; left = sent - System.nanoTime()) {
                        LockSupport.parkNanos(left);
                    }
                } else if (i % TIMED_EVERY == 0) {
                    sent = System.nanoTime();
                }
                long from = sent;
                byte[] key = keys.length == 0 ? null : keys[(int) (i % keys.length)];
                producer.send(new ProducerRecord<>(topic, key, value), (metadata, error) -> {
                    (error == null ? acked : failed).incrementAndGet();
                    if (from != 0) {
                        time(from);
                    }
                });
            }
        }
    }

    private static void transactions(KafkaProducer<byte[], byte[]> producer) throws Exception {
        long size = number("txn-size", 100);
        producer.initTransactions();
        for (long i = 0; i < number("warmup", 2_000); i++) {
            transact(producer, size);
        }
        begin();
        long count = number("records", 1_000_000) / size;
        for (long i = 0; i < count; i++) {
            long from = System.nanoTime();
            transact(producer, size);
            time(from);
        }
        report();
    }

    private static void transact(KafkaProducer<byte[], byte[]> producer, long size) {
        String topic = text("topic", "");
        byte[] value = payload();
        producer.beginTransaction();
        for (long i = 0; i < size; i++) {
            producer.send(new ProducerRecord<>(topic, value));
        }
        producer.commitTransaction();
        acked.addAndGet(size);
    }

    private static void time(long from) {
        long micros = (System.nanoTime() - from) / 1000;
        synchronized (Peer.class) {
            if (timed == times.length) {
                times = Arrays.copyOf(times, timed * 2);
            }
            times[timed++] = micros;
        }
    }

    private static void begin() throws Exception {
        acked.set(0);
        failed.set(0);
        timed = 0;
        processorTime = processorTime();
        started = System.nanoTime();
    }

    private static void report() throws Exception {
        double wall = (System.nanoTime() - started) / 1e9;
        double cpu = (processorTime() - processorTime) / 1e2;
        Arrays.sort(times, 0, timed);
        String mode = text("mode", "throughput");
        String kind = mode.equals("txn") ? "txn" : "ack";
        long done = acked.get();
        long size = number("size", 100);
        System.out.printf(Locale.ROOT,
            "{\"who\":\"java\",\"mode\":\"%s\",\"records\":%d,\"size\":%d,\"acked\":%d,\"failed\":%d,\"wall_s\":%.4f,\"krec_s\":%.3f,\"mb_s\":%.3f,"
                + "\"cpu_s\":%.3f,\"cpu_ns_per_rec\":%.1f,\"rss_mib\":%.1f,\"txns\":%d,"
                + "\"%s_p50_us\":%d,\"%s_p99_us\":%d,\"%s_p999_us\":%d,\"%s_max_us\":%d}%n",
            mode, number("records", 1_000_000), size, done, failed.get(), wall, done / wall / 1e3, done / wall * size / 1e6,
            cpu, cpu * 1e9 / Math.max(done, 1), peakMib(), mode.equals("txn") ? timed : 0,
            kind, at(0.5), kind, at(0.99), kind, at(0.999), kind, at(1));
    }

    private static long at(double share) {
        return timed == 0 ? 0 : times[Math.max(0, (int) Math.ceil(timed * share) - 1)];
    }

    /** In hundredths of a second. */
    private static long processorTime() throws Exception {
        String stat = Files.readString(Path.of("/proc/self/stat"));
        String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
        return Long.parseLong(fields[11]) + Long.parseLong(fields[12]);
    }

    private static double peakMib() throws Exception {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Double.parseDouble(line.replaceAll("[^0-9]", "")) / 1024;
            }
        }
        return 0;
    }
}
