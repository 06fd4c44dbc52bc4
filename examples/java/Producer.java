// Sends a command to crm-processor with the plain Kafka and Avro clients: no Confluent serializer, the wire format is written
// here. (With that serializer on the class path, `encode` and `Registry` are what it does.) Java 17, Maven:
//
//     cd examples/java
//     mvn -q dependency:copy-dependencies -DoutputDirectory=lib
//     java -cp 'lib/*' Producer.java 127.0.0.1:9092 http://127.0.0.1:8081 crm.commands r-1 c-1 'Ada Lovelace'
//
// The last three arguments are the request id, the customer's external id and the new custom name.

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.UUID;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

public final class Producer {
    private static final String COMMAND = "crm.v1.UpdateCustomerCustomName";

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 6) {
            System.err.println("usage: Producer.java BOOTSTRAP_SERVERS REGISTRY_URL TOPIC REQUEST_ID EXTERNAL_ID CUSTOM_NAME");
            System.exit(2);
        }
        String topic = arguments[2];
        Registered registered = Registered.latest(arguments[1], topic + "-" + COMMAND);
        byte[] value = encode(registered, customName(registered.schema, arguments[3], arguments[4], arguments[5]));

        Map<String, Object> config = Map.of(
            ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0],
            ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true);
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new ByteArraySerializer())) {
            // The key names the entity, so that its commands stay in order.
            var record = new ProducerRecord<>(topic, arguments[4], value);
            String correlationId = UUID.randomUUID().toString();
            record.headers().add("correlation-id", correlationId.getBytes(StandardCharsets.UTF_8));
            var metadata = producer.send(record).get();
            System.out.printf("%s-%d@%d, correlation-id %s%n", topic, metadata.partition(), metadata.offset(), correlationId);
        }
    }

    private static GenericRecord customName(Schema schema, String requestId, String externalId, String name) {
        // A field such as `customer` is a union of null and a record.
        Schema reference = schema.getField("customer").schema().getTypes().get(1);
        GenericRecord customer = new GenericData.Record(reference);
        customer.put("externalId", externalId);
        GenericRecord command = new GenericData.Record(schema);
        command.put("requestId", requestId);
        command.put("customer", customer);
        command.put("customName", name);
        return command;
    }

    /** The Confluent wire format: byte 0, the schema's id as 4 bytes big-endian, Avro binary. */
    private static byte[] encode(Registered registered, GenericRecord command) throws IOException {
        var bytes = new ByteArrayOutputStream();
        bytes.write(0);
        bytes.write(ByteBuffer.allocate(Integer.BYTES).putInt(registered.id).array());
        var encoder = EncoderFactory.get().binaryEncoder(bytes, null);
        new GenericDatumWriter<GenericRecord>(registered.schema).write(command, encoder);
        encoder.flush();
        return bytes.toByteArray();
    }

    /** A schema and the id that the registry knows it by. */
    private record Registered(int id, Schema schema) {
        static Registered latest(String registry, String subject) throws IOException, InterruptedException {
            var request = HttpRequest.newBuilder(URI.create(registry + "/subjects/" + subject + "/versions/latest")).build();
            var response = HttpClient.newHttpClient().send(request, BodyHandlers.ofString());
            if (response.statusCode() != 200) {
                throw new IOException(request.uri() + " answered " + response.statusCode() + ": " + response.body());
            }
            var answer = new ObjectMapper().readTree(response.body());
            return new Registered(answer.get("id").asInt(), new Schema.Parser().parse(answer.get("schema").asText()));
        }
    }
}
